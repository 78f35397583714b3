# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the fleet: who serves which model, and for how long that is believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fleet_gateway._fleet.lanes import lane
from fleet_gateway._fleet.messages import Message, Properties, decode, encode
from fleet_gateway._fleet.registry import AVAILABLE, DEGRADED, HEARTBEAT, UNAVAILABLE, Offering, Trouble
from fleet_gateway.domain.fleet_view import FleetView


class Fleet:
    def __init__(self) -> None:
        self.now = 1000.0
        self.view = FleetView(75, lambda: self.now)

    def say(self, name: str, event: str, call: str = "chat", model: str = "m:1", slots: int = 2, **style: Any) -> bool:
        offering = Offering(lane(call, model, **style), name, slots)
        return self.view.add(offering.event(event, Trouble("x", "y") if event == DEGRADED else None).message)

    def own(self, path: str = "/api/chat", model: str = "m:1") -> Any:
        found = self.view.lane_of(path, model)
        return found and [(one.node, one.slots) for one in found.own]

    def queue(self, path: str = "/api/chat", model: str = "m:1") -> Any:
        found = self.view.lane_of(path, model)
        return found and found.queue


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_lane_of_a_model_counts_the_slots_of_its_nodes(fleet: Fleet) -> None:
    assert fleet.queue() is None
    assert fleet.say("a", AVAILABLE)
    assert fleet.say("b", HEARTBEAT, slots=3)
    assert not fleet.say("b", HEARTBEAT, slots=3)
    found = fleet.view.lane_of("/v1/chat/completions", "m:1")
    assert found is not None
    assert (found.queue, found.nodes, found.slots) == ("llm.request.ollama.chat.m.1", ("a", "b"), 5)


@pytest.mark.parametrize("event", [UNAVAILABLE, DEGRADED])
def test_lane_of_a_node_that_does_not_serve_is_none(fleet: Fleet, event: str) -> None:
    fleet.say("a", AVAILABLE)
    fleet.say("a", event)
    assert fleet.queue() is None
    fleet.say("a", HEARTBEAT)
    assert fleet.queue() is not None


def test_lane_of_a_silent_node_is_forgotten(fleet: Fleet) -> None:
    fleet.say("a", AVAILABLE)
    fleet.now += 74
    assert fleet.queue() is not None
    fleet.now += 2
    assert fleet.queue() is None
    assert fleet.view.nodes_of("llm.request.ollama.chat.m.1") == ("a",)


def test_lane_of_every_spelling_is_found(fleet: Fleet) -> None:
    fleet.say("a", AVAILABLE, model="llama3:latest")
    for spelling in ("llama3", "llama3:latest", "library/llama3", "LLAMA3"):
        assert fleet.queue(model=spelling) == "llm.request.ollama.chat.llama3.latest", spelling
    assert fleet.queue(model="llama3:8b") is None
    assert fleet.queue(model="no : name") is None


def test_lane_of_another_call_is_another_lane(fleet: Fleet) -> None:
    fleet.say("a", AVAILABLE, "embed")
    assert fleet.queue("/api/chat") is None
    assert fleet.queue("/v1/embeddings") == "llm.request.ollama.embed.m.1"


def test_lane_of_the_shared_style_serves_chat_and_generate(fleet: Fleet) -> None:
    fleet.say("a", AVAILABLE, style="shared")
    assert fleet.queue("/api/generate") == fleet.queue("/v1/messages") == "llm.fleet.inference.m-1"
    assert fleet.queue("/api/embed") is None


def test_lane_with_a_context_window_is_for_the_interface_that_can_say_it(fleet: Fleet) -> None:
    fleet.say("a", AVAILABLE, style="shared", context_window=4096)
    assert fleet.queue("/api/chat") == "llm.fleet.inference.m-1.ctx4096"
    assert fleet.queue("/v1/chat/completions") is None


def test_lane_of_one_node_alone_is_not_for_everybody(fleet: Fleet) -> None:
    fleet.say("a", AVAILABLE, style="offering", node="a")
    assert fleet.queue() is None
    assert fleet.view.models() == []


def test_add_of_a_worker_that_carries_nothing_is_not_served(fleet: Fleet) -> None:
    message = Offering(lane("chat", "m:1"), "old", 1).event(AVAILABLE).message
    document, _problem = decode(message, 10_000)
    del document["metadata"]["carried"]
    fleet.view.add(replace(message, body=encode(document)))
    assert fleet.queue() is None


def test_add_of_odd_messages_changes_nothing(fleet: Fleet) -> None:
    for message in (Message(Properties(), {}, b""), Message(Properties(type="llm.registry.event"), {}, b"[]")):
        assert not fleet.view.add(message)


def test_models_are_listed_once_with_what_they_can(fleet: Fleet) -> None:
    for node in ("a", "b"):
        for call in ("chat", "generate"):
            fleet.say(node, AVAILABLE, call)
    fleet.say("a", AVAILABLE, "embed", "e")
    assert [(model.name, model.calls, model.nodes) for model in fleet.view.models()] == [
        ("e:latest", ("embed",), ("a",)),
        ("m:1", ("chat", "generate"), ("a", "b")),
    ]


def test_own_lanes_stand_beside_the_lane_of_their_model_and_call(fleet: Fleet) -> None:
    for node in ("a", "b"):
        fleet.say(node, AVAILABLE, model="m:latest")
        fleet.say(node, AVAILABLE, "generate", model="m:latest")
    fleet.say("a", AVAILABLE, model="m:latest", style="node", node="a")
    fleet.say("b", AVAILABLE, model="m:latest", style="node", node="b", slots=3)
    assert fleet.own(model="m") == fleet.own("/v1/messages", "m:latest") == [("a", 2), ("b", 3)]
    assert fleet.own("/api/generate", "m") == []
    assert {lane.queue for lane in fleet.view.lanes()} == {
        "llm.request.ollama.chat.m.latest",
        "llm.request.ollama.generate.m.latest",
    }
    fleet.say("a", DEGRADED, model="m:latest", style="node", node="a")
    assert fleet.own(model="m") == [("b", 3)]


def test_own_lanes_of_a_model_that_nobody_shares_are_no_lanes(fleet: Fleet) -> None:
    fleet.say("a", AVAILABLE, style="node", node="a")
    assert fleet.queue() is None
    assert fleet.view.models() == []


def test_slots_of_a_lane_follow_what_nodes_say(fleet: Fleet) -> None:
    queue = "llm.request.ollama.chat.m.1"
    assert fleet.view.slots_of(queue) == 0
    fleet.say("a", AVAILABLE)
    fleet.say("b", AVAILABLE)
    assert fleet.view.slots_of(queue) == 4
    fleet.now += 70
    fleet.say("b", HEARTBEAT, slots=5)
    assert fleet.view.slots_of(queue) == 7
    fleet.now += 6
    assert fleet.view.slots_of(queue) == 5
    fleet.say("a", HEARTBEAT)
    assert fleet.view.slots_of(queue) == 7


def test_lane_of_a_node_whose_clock_steps_back_stays_served(fleet: Fleet) -> None:
    """An older event soon after a newer one was overtaken; later, the clock of the node is another."""
    newer = Offering(lane("chat", "m:1"), "a", 2).event(HEARTBEAT, None).message
    body, _problem = decode(newer, 10_000)
    assert isinstance(body, dict)
    earlier = replace(newer, body=encode({**body, "occurred_at": "2020-01-01T00:00:00Z"}))
    fleet.view.add(newer)
    fleet.now += 60
    fleet.view.add(earlier)
    fleet.now += 60
    assert fleet.queue() is not None
