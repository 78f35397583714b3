# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page is given: the fleet as far as who asks may see it."""

from __future__ import annotations

import time
from typing import Any, Optional

import pytest
from fleet_gateway._fleet.lanes import lane
from fleet_gateway._fleet.registry import AVAILABLE, DEGRADED, Offering, Trouble
from fleet_gateway.domain.fleet_view import FleetView
from fleet_gateway.domain.traffic import Traffic
from fleet_gateway.http.page_state import FORGET, MOST_ENDED, PageState
from fleet_gateway.settings.keys import ANYBODY, KeyConfig


def key(name: str, **others: Any) -> KeyConfig:
    return KeyConfig(name=name, hash="sha256:" + "1" * 64, **others)


class Gateway:
    def __init__(self) -> None:
        self.now = 1000.0
        self.depths: dict[str, int] = {}
        self.view = FleetView(75, lambda: self.now)
        self.traffic = Traffic(lambda: self.now)
        self.state = PageState(
            self._snapshot, self.view.announcements, self.traffic, lambda _queues: self.depths, timeout=75
        )

    def _snapshot(self) -> dict[str, Any]:
        lanes = [{"queue": one.queue, "slots": one.slots, "running": 1, "waiting": 7} for one in self.view.lanes()]
        return {
            "node": "gw",
            "version": "1",
            "ready": True,
            "reason": "",
            "since": time.time() - 90,
            "keys": 2,
            "lanes": lanes,
        }

    def say(self, node: str, model: str = "m:1", event: str = AVAILABLE, trouble: Optional[Trouble] = None) -> None:
        self.view.add(Offering(lane("chat", model), node, 2).event(event, trouble).message)

    def passed(self, name: str, model: str = "m:1", *, end: bool = True) -> None:
        passage = self.traffic.begin("/api/chat")
        passage.key, passage.model, passage.lane = name, model, "q"
        if end:
            self.traffic.end(passage, 200)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def test_state_has_nodes_models_and_lanes_with_their_counts(gateway: Gateway) -> None:
    gateway.say("a")
    gateway.say("b", event=DEGRADED, trouble=Trouble("x", "Ollama is away"))
    assert gateway.state.document(ANYBODY)["lanes"][0]["at_broker"] is None
    gateway.depths["llm.request.ollama.chat.m.1"] = 4
    seen = gateway.state.document(ANYBODY)
    assert [(node["name"], node["states"], node["trouble"]) for node in seen["nodes"]] == [
        ("a", ["available"], ""),
        ("b", ["degraded"], "Ollama is away"),
    ]
    assert seen["models"] == [{"name": "m:1", "calls": ["chat"], "nodes": ["a"]}]
    assert [
        (one["queue"], one["nodes"], one["slots"], one["running"], one["waiting"], one["at_broker"])
        for one in seen["lanes"]
    ] == [("llm.request.ollama.chat.m.1", ["a"], 2, 1, 7, 4)]
    assert seen["gateway"]["up_seconds"] == 90


def test_state_shows_a_silent_node_for_a_while(gateway: Gateway) -> None:
    gateway.say("a")
    gateway.now += 76
    seen = gateway.state.document(ANYBODY)
    assert [(node["states"], node["heard_seconds_ago"]) for node in seen["nodes"]] == [(["silent"], 76)]
    assert seen["models"] == []
    gateway.now += FORGET
    assert gateway.state.document(ANYBODY)["nodes"] == []


def test_state_of_a_key_has_its_own_models_and_requests_alone(gateway: Gateway) -> None:
    gateway.say("a", "m:1")
    gateway.say("b", "secret:1")
    for name, model in (("alice", "secret:1"), ("bob", "m:1")):
        gateway.passed(name, model)
        gateway.passed(name, model, end=False)
    seen = gateway.state.document(key("bob", models=["m"]))
    assert "secret" in str(gateway.state.document(key("alice", operator=True, models=["m"])))
    assert "secret" not in str(seen) and "alice" not in str(seen)
    assert [node["name"] for node in seen["nodes"]] == []
    seen = gateway.state.document(key("bob", models=["m:1"]))
    assert "secret" not in str(seen) and "alice" not in str(seen)
    assert [node["name"] for node in seen["nodes"]] == ["a"]
    assert [one["key"] for one in seen["under_way"] + seen["ended"]] == ["bob", "bob"]
    assert sum(seen["rates"]["requests"]) == 1


def test_state_without_a_key_has_no_requests(gateway: Gateway) -> None:
    gateway.say("a")
    gateway.passed("alice")
    gateway.passed("alice", end=False)
    seen = gateway.state.document(None)
    assert [model["name"] for model in seen["models"]] == ["m:1"]
    assert seen["under_way"] == seen["ended"] == []
    assert "alice" not in str(seen)
    assert sum(seen["rates"]["requests"]) == 1


def test_state_is_bounded(gateway: Gateway) -> None:
    for _request in range(300):
        gateway.passed("alice")
        gateway.passed("alice", end=False)
    seen = gateway.state.document(ANYBODY)
    assert len(seen["under_way"]) == 100 and len(seen["ended"]) == MOST_ENDED
