# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names and arguments of lanes, typed out from the protocol."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.errors import InvalidLaneError, LaneCollisionError
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import check_collisions, lane, slug
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import InvalidNameError
from hypothesis import given
from hypothesis import strategies as st

MODEL_ARGUMENTS = {"x-queue-type": "quorum", "x-dead-letter-exchange": "ollama.dlx"}
SHARED_ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-queue-leader-locator": "balanced",
    "x-expires": 60000,
    "x-message-ttl": 120000,
    "x-overflow": "reject-publish",
    "x-max-length": 100,
    "x-delivery-limit": 3,
    "x-consumer-timeout": 300000,
}
NODE_ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": "llm.request.ollama.chat.qwen3.5.27b",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
    "x-message-ttl": 10000,
    "x-expires": 86400000,
}


@pytest.mark.parametrize(
    "request_type, model, options, queue, arguments",
    [
        ("chat", "qwen3.5:27b", {}, "llm.request.ollama.chat.qwen3.5.27b", MODEL_ARGUMENTS),
        ("embed", "nomic-embed-text", {}, "llm.request.ollama.embed.nomic-embed-text", MODEL_ARGUMENTS),
        ("generate", "hf.co/User/Repo:Q4_K", {}, "llm.request.ollama.generate.hf.co/User/Repo.Q4_K", MODEL_ARGUMENTS),
        ("chat", "qwen3.5:27b", {"style": "shared"}, "llm.fleet.inference.qwen3-5-27b", SHARED_ARGUMENTS),
        ("generate", "qwen3.5:27b", {"style": "shared"}, "llm.fleet.inference.qwen3-5-27b", SHARED_ARGUMENTS),
        ("embed", "Nomic_Embed", {"style": "shared"}, "llm.fleet.embed.nomic-embed", SHARED_ARGUMENTS),
        (
            "chat",
            "qwen3.5:27b",
            {"style": "shared", "context_window": 32768},
            "llm.fleet.inference.qwen3-5-27b.ctx32768",
            SHARED_ARGUMENTS,
        ),
        (
            "chat",
            "qwen3.5:27b",
            {"style": "offering", "node": "GPU_01.example"},
            "llm.fleet.offering.gpu-01-example.qwen3-5-27b.inference",
            SHARED_ARGUMENTS,
        ),
        (
            "embed",
            "all-minilm",
            {"style": "offering", "node": "gpu-01"},
            "llm.fleet.offering.gpu-01.all-minilm.embed",
            SHARED_ARGUMENTS,
        ),
        (
            "chat",
            "qwen3.5:27b",
            {"style": "node", "node": "GPU_01.example"},
            "llm.request.ollama.node.gpu-01-example.chat.qwen3.5.27b",
            NODE_ARGUMENTS,
        ),
    ],
)
def test_names_and_arguments(
    request_type: str, model: str, options: dict[str, Any], queue: str, arguments: dict[str, Any]
) -> None:
    made = lane(request_type, model, **options)
    assert made.queue == queue
    assert made.arguments == arguments
    assert all(type(made.arguments[name]) is type(value) for name, value in arguments.items())


def test_limits_follow_from_the_arguments() -> None:
    assert (lane("chat", "a").delivery_limit, lane("chat", "a").ack_timeout) == (20, None)
    shared = lane("chat", "a", style="shared")
    assert (shared.delivery_limit, shared.ack_timeout) == (3, 300.0)
    assert shared.deadline < 300 < lane("chat", "a").deadline < 1800


@pytest.mark.parametrize(
    "request_type, model, options, complaint",
    [
        ("chat", "h" * 200 + "/" + "n" * 40 + "/" + "m" * 40, {}, "RabbitMQ allows 255"),
        ("rerank", "a", {}, "'rerank'"),
        ("chat", "a", {"style": "other"}, "'other'"),
        ("chat", "a", {"context_window": 4096}, "context window"),
        ("embed", "a", {"style": "shared", "context_window": 4096}, "context window"),
        ("chat", "___", {"style": "shared"}, "has no letter or digit"),
        ("chat", "a", {"style": "offering"}, "node name"),
        ("chat", "a", {"style": "node"}, "node name"),
        ("chat", "a", {"style": "node", "node": "n", "context_window": 4096}, "context window"),
        ("chat", "a", {"style": "offering", "node": "n" * 65}, "65 characters"),
    ],
)
def test_lane_with_an_impossible_part_is_refused(
    request_type: str, model: str, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidLaneError, match=re.escape(complaint)):
        lane(request_type, model, **options)


def test_the_longest_key_is_accepted() -> None:
    prefix = "llm.request.ollama.chat."
    model = "h" * 100 + "/" + "n" * 60 + "/" + "m" * (255 - len(prefix) - 162)
    assert len(lane("chat", model).queue.encode()) == 255


def test_a_lane_is_for_a_model_name() -> None:
    with pytest.raises(InvalidNameError):
        lane("chat", "a/b/c/d/e")


@pytest.mark.parametrize(
    "first, second, complaint",
    [
        (("chat", "a:b", "model"), ("chat", "a.b", "model"), "a:b and a.b are both the queue"),
        (("chat", "qwen3.5:27b", "shared"), ("chat", "qwen3-5:27b", "shared"), "are both the queue"),
        (("chat", "a", "shared"), ("generate", "a", "shared"), "serve chat and generate alike"),
        (("chat", "a", "model"), ("chat", "a", "model"), "is listed twice"),
    ],
)
def test_collisions_are_refused(first: Any, second: Any, complaint: str) -> None:
    lanes = [lane(request_type, model, style=style) for request_type, model, style in (first, second)]
    with pytest.raises(LaneCollisionError, match=complaint):
        check_collisions(lanes)


def test_lanes_that_differ_do_not_collide() -> None:
    check_collisions(
        [
            lane("chat", "llama3"),
            lane("chat", "llama3:latest"),
            lane("generate", "llama3"),
            lane("chat", "llama3", style="shared"),
            lane("chat", "llama3", style="shared", context_window=4096),
            lane("chat", "llama3", style="offering", node="a"),
        ]
    )


@pytest.mark.parametrize(
    "style, model, asked, same",
    [
        ("model", "llama3", "llama3", True),
        ("model", "llama3", "llama3:latest", True),
        ("model", "llama3", "registry.ollama.ai/library/LLAMA3:latest", True),
        ("model", "qwen3.5:27b", "qwen3.5.27b", True),
        ("model", "qwen3.5:27b", "qwen3-5-27b", False),
        ("shared", "qwen3.5:27b", "qwen3-5-27b", True),
        ("shared", "qwen3.5:27b", "Qwen3.5:27B", True),
        ("model", "llama3", "llama3:70b", False),
        ("shared", "llama3", "llama3:70b", False),
        ("model", "llama3", "///", False),
    ],
)
def test_which_spellings_name_the_model_of_a_lane(style: str, model: str, asked: str, same: bool) -> None:
    assert lane("chat", model, style=style).names(asked) is same


@given(st.text())
def test_a_slug_has_nothing_but_letters_digits_and_single_hyphens(text: str) -> None:
    assert re.fullmatch(r"(?:[a-z0-9]+(?:-[a-z0-9]+)*)?", slug(text))
    assert slug(slug(text)) == slug(text)
