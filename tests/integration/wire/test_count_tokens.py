# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Token counts: prompts longer than the context, and an Ollama of another version than on other nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import services

from .legionio_requester import CHAT_KEY, CHAT_MODEL, CONVERSATION, Requester

CONTEXT = 512
KEY = f"{CHAT_KEY}.ctx{CONTEXT}"
LONG = [{"role": "user", "content": "one two three four " * CONTEXT}]


def lanes(**options: Any) -> list[dict[str, Any]]:
    return [{"type": "chat", "model": CHAT_MODEL, "style": "shared", **options}]


@pytest.fixture
def requester(broker_with_topology: Any) -> Iterator[Requester]:
    requester = Requester(broker_with_topology.amqp_url)
    yield requester
    requester.close()


@pytest.fixture(scope="module")
def short_context(broker_with_topology: Any, ollama: Any, start_worker: Any) -> Iterator[Path]:
    """A worker whose model is loaded with a small context."""
    with start_worker(
        broker_with_topology,
        ollama={"host": ollama.url},
        lanes=lanes(context_window=CONTEXT),
        exchanges=["llm.fleet"],
        protocol={"versions": [2, 3]},
    ) as log:
        yield log


def version3(requester: Requester, messages: list[dict[str, Any]]) -> dict[str, Any]:
    return requester.request(
        "count_tokens",
        protocol_version=3,
        execution_contract="exact_offering_v1",
        offering_id=f"fleet:ollama:default:inference:{CHAT_MODEL}",
        params={"messages": messages},
    )


def test_count_of_a_prompt_longer_than_the_context_is_an_error_and_no_count(
    requester: Requester, short_context: Path
) -> None:
    chat = requester.answer(requester.request(params={"messages": LONG, "max_tokens": 1}), KEY)
    assert chat["usage"]["input_tokens"] <= CONTEXT, "a chat is cut to the context"
    body = requester.answer(requester.request("count_tokens", params={"messages": LONG}), KEY)
    assert (body["code"], body["error_class"], body["retryable"]) == ("provider_error", "ProviderError", True)
    assert "context" in body["message"] and "content" not in body
    requester.publish(version3(requester, LONG), KEY)
    _properties, body = requester.reply()
    assert (body["code"], body["retryable"]) == ("provider_error", False), "version 3 knows that it stays so"


def test_count_of_a_prompt_within_the_context_is_what_a_chat_counts(requester: Requester, short_context: Path) -> None:
    counted = requester.answer(requester.request("count_tokens"), KEY)
    said = requester.answer(requester.request(params={"messages": CONVERSATION, "max_tokens": 1}), KEY)
    assert counted["content"] == str(said["usage"]["input_tokens"])
    requester.publish(version3(requester, CONVERSATION), KEY)
    _properties, body = requester.reply()
    assert body["response"]["text"] == counted["content"]


@pytest.mark.parametrize(
    "build, code, retryable, text",
    [
        # It would ignore that nothing may be cut, so it is not even asked.
        ("ollama-oldest", "policy_error", False, "count_tokens is not served by this node"),
        # It is asked; the lab's has nothing to run a model with, which is not a refusal.
        ("ollama-newest", "provider_error", True, ""),
    ],
)
def test_count_of_another_ollama_is_refused_only_if_it_cannot_count(
    broker_with_topology: Any,
    start_worker: Any,
    model_store: Path,
    requester: Requester,
    build: str,
    code: str,
    retryable: bool,
    text: str,
) -> None:
    with (
        services.ollama_server(model_store, build=build) as server,
        start_worker(
            broker_with_topology,
            ollama={"host": server.url},
            lanes=lanes(),
            exchanges=["llm.fleet"],
        ),
    ):
        body = requester.answer(requester.request("count_tokens"))
    assert (body["code"], body["retryable"]) == (code, retryable)
    assert text in body["message"] and "content" not in body
