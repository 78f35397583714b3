# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lanes that are made of models."""

from __future__ import annotations

from typing import Any

import pytest
from fleet_worker.domain.lane_terms import LaneTerms
from fleet_worker.settings.auto_lanes import lanes_of
from fleet_worker.settings.config import AutoLanesConfig, parse
from fleet_worker.settings.lanes import configured_lanes
from fleet_worker.settings.sections import ConfigError

MODELS = [
    ("all-minilm:latest", ("embedding",)),
    ("llama3:70b", ("completion", "tools")),
    ("reg.example.com/ns/m:1", ("completion",)),
]


def made(**settings: Any) -> list[tuple[str, str, str]]:
    return [(entry.style, entry.type, entry.model) for entry in lanes_of(MODELS, AutoLanesConfig(**settings))]


def test_a_model_gets_the_lanes_of_what_it_can_in_each_spelling() -> None:
    assert made(allow=["all-minilm*", "llama3*"]) == [
        ("model", "embed", "all-minilm:latest"),
        ("model", "embed", "all-minilm"),
        ("model", "chat", "llama3:70b"),
        ("model", "generate", "llama3:70b"),
    ]


@pytest.mark.parametrize(
    "settings, models",
    [
        ({"deny": ["*:70b"]}, {"all-minilm:latest", "all-minilm", "reg.example.com/ns/m:1"}),
        ({"allow": ["LLAMA3:*"]}, {"llama3:70b"}),
        ({"allow": ["registry.ollama.ai/library/*"]}, {"all-minilm:latest", "all-minilm", "llama3:70b"}),
        ({"allow": ["all-minilm"]}, {"all-minilm:latest", "all-minilm"}),
        ({"types": ["chat"]}, {"llama3:70b", "reg.example.com/ns/m:1"}),
        ({"allow": []}, set()),
    ],
)
def test_patterns(settings: Any, models: set[str]) -> None:
    assert {model for _style, _type, model in made(**settings)} == models


def test_shared_lanes_serve_chat_and_generate_as_one() -> None:
    assert made(allow=["llama3*"], styles=["shared", "model"]) == [
        ("shared", "chat", "llama3:70b"),
        ("model", "chat", "llama3:70b"),
        ("model", "generate", "llama3:70b"),
    ]
    assert made(allow=["llama3*"], styles=["shared"], types=["generate"]) == [("shared", "generate", "llama3:70b")]


def test_lanes_that_are_made_have_the_terms_that_are_set() -> None:
    settings = AutoLanesConfig(keep_alive="10m", option_ranges={"seed": [0, 9]})
    assert {lane.terms for lane in lanes_of(MODELS, settings)} == {LaneTerms("10m", (("seed", 0, 9),))}


def test_listed_lanes_come_first_and_names_that_fall_together_are_one_lane() -> None:
    config = parse(
        {
            "broker": {"addresses": ["hub"]},
            "lanes": [{"type": "chat", "model": "a:b", "deadline": 5}],
            "auto_lanes": {"context_window": 4096, "styles": ["model", "shared"], "deadline": 60},
            "model_concurrency": {"A:B": 1},
            "embed_batch": {"count": 8},
        }
    )
    assert config.auto_lanes is not None
    models = [("a.b:latest", ("completion",)), ("a:b", ("completion",)), ("e:1", ("embedding",))]
    lanes = {one.queue: one for one in configured_lanes(config, lanes_of(models, config.auto_lanes))}
    assert lanes["llm.request.ollama.chat.a.b"].deadline == 5
    assert lanes["llm.request.ollama.chat.a.b"].limit == 1
    assert lanes["llm.fleet.inference.a-b.ctx4096"].deadline == 60
    assert lanes["llm.request.ollama.embed.e.1"].batch == 8
    assert lanes["llm.fleet.embed.e-1"].lane.context_window is None
    assert lanes["llm.request.ollama.generate.a.b"].batch == 1


def test_own_lanes_stand_beside_chat_and_generate_lanes_of_the_style_model() -> None:
    long = "h" * 100 + "/" + "n" * 60 + "/" + "m" * 60
    config = parse(
        {
            "node": "gpu-01",
            "broker": {"addresses": ["hub"]},
            "lanes": [{"type": "chat", "model": "a", "style": "shared"}, {"type": "embed", "model": "e"}],
            "auto_lanes": {"priority": 3},
            "own_lanes": True,
        }
    )
    assert config.auto_lanes is not None
    models = [("a:1", ("completion",)), (long, ("completion",))]
    lanes = {one.queue: one for one in configured_lanes(config, lanes_of(models, config.auto_lanes))}
    own = {queue: one.lane.heir for queue, one in lanes.items() if one.lane.style == "node"}
    assert own == {
        "llm.request.ollama.node.gpu-01.chat.a.1": "llm.request.ollama.chat.a.1",
        "llm.request.ollama.node.gpu-01.generate.a.1": "llm.request.ollama.generate.a.1",
    }
    assert lanes["llm.request.ollama.node.gpu-01.chat.a.1"].priority == 4
    assert lanes["llm.request.ollama.chat.a.1"].priority == 3


def test_own_lanes_of_a_node_whose_name_makes_none_are_refused() -> None:
    asked = {"broker": {"addresses": ["hub"]}, "node": "n" * 65, "own_lanes": True}
    with pytest.raises(ConfigError, match="cannot be part of a lane"):
        parse({**asked, "lanes": [{"type": "chat", "model": "a"}]})


def test_auto_is_a_short_form() -> None:
    broker = {"addresses": ["hub"]}
    config = parse({"broker": broker, "lanes": "auto"})
    assert (config.lanes, config.auto_lanes) == ([], AutoLanesConfig())
    assert parse({"broker": broker, "lanes": "auto", "auto_lanes": {"deny": ["x"]}}).auto_lanes is not None
    with pytest.raises(ConfigError, match="set 290 or less"):
        parse({"broker": broker, "lanes": "auto", "auto_lanes": {"styles": ["shared"], "deadline": 400}})


def test_pattern_of_a_model_makes_no_lanes_for_another_host() -> None:
    evil = [("llama3.evil.example/library/x:1", ("completion",)), ("llama3:8b", ("completion",))]
    found = {entry.model for entry in lanes_of(evil, AutoLanesConfig(allow=["llama3*"]))}
    assert found == {"llama3:8b"}


def test_model_with_a_name_that_no_queue_can_have_makes_no_lanes() -> None:
    long = f"{'h' * 200}.example/{'n' * 80}/{'m' * 80}:1"
    assert lanes_of([(long, ("completion",))], AutoLanesConfig()) == []
