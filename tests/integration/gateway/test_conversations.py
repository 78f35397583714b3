# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversations stay on their node, and lose nothing by that when the node is busy or dead."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from fleet_parts import CHAT_MODEL, ScriptedOllama, Slow, answer, channel_to, eventually
from fleet_worker._fleet.lanes import lane

pytestmark = pytest.mark.every_version

Start = Callable[..., Any]
NODES = ("gpu-01", "gpu-02")
OWN = {node: lane("chat", CHAT_MODEL, style="node", node=node).queue for node in NODES}


def turn(conversation: int, number: int) -> dict[str, Any]:
    """Return a turn of a conversation, with what was said before it."""
    messages = [{"role": "user", "content": f"The beginning of {conversation}"}]
    for one in range(number):
        messages += [
            {"role": "assistant", "content": "Good morning."},
            {"role": "user", "content": f"Go on, {one} of {conversation}"},
        ]
    return {"model": CHAT_MODEL, "messages": messages, "stream": False}


@pytest.fixture
def pair(work: Start) -> Iterator[dict[str, Any]]:
    """Two nodes with own lanes, each with an Ollama that records its requests."""
    with ScriptedOllama() as first, ScriptedOllama() as second:
        yield {
            node: SimpleNamespace(
                ollama=ollama, worker=work(ollama.url, node=node, own_lanes=True, concurrency=1), node=node
            )
            for node, ollama in zip(NODES, (first, second))
        }


def ready(gateway: Any) -> Any:
    """Wait until a gateway knows both nodes."""
    gateway.wait_ready()

    def heard() -> bool:
        return any(len(one["own"]) == len(NODES) for one in gateway.status()["lanes"])

    eventually(heard, "both nodes to be heard of", 20)
    return gateway


def home_of(pair: dict[str, Any], conversation: int) -> Any:
    beginning = turn(conversation, 0)["messages"][0]
    (found,) = [
        node for node in pair.values() if any(body["messages"][0] == beginning for _path, body in node.ollama.calls)
    ]
    return found


def turns(gateway: Any) -> dict[str, int]:
    text = gateway.ask("/metrics").body.decode()
    found = re.findall(r'^fleet_gateway_turns_total\{place="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {place: int(number) for place, number in found}


def test_turns_of_a_conversation_are_answered_by_one_node(pair: dict[str, Any], front: Start) -> None:
    gateway = ready(front())
    for number in range(3):
        for conversation in range(12):
            assert gateway.ask("/api/chat", turn(conversation, number)).status == 200
    homes = Counter(home_of(pair, conversation).node for conversation in range(12))
    assert set(homes) == set(NODES)
    assert turns(gateway) == {"home": 36}


def test_turns_without_the_setting_go_to_any_free_node(pair: dict[str, Any], front: Start) -> None:
    gateway = ready(front(conversations={"stay": False}))
    for number in range(20):
        assert gateway.ask("/api/chat", turn(1, number)).status == 200
    assert all(node.ollama.calls for node in pair.values())
    assert turns(gateway) == {}


def test_turn_of_a_killed_node_is_answered_by_another_one(
    pair: dict[str, Any], front: Start, fleet_broker: Any
) -> None:
    gateway = ready(front())
    assert gateway.ask("/api/chat", turn(1, 0)).status == 200
    home = home_of(pair, 1)
    home.ollama.behave = slow = Slow(60)
    with ThreadPoolExecutor(1) as pool:
        # The hot node is killed while it works on a turn, and the next ones come while it still counts as alive.
        under_way = pool.submit(gateway.ask, "/api/chat", turn(1, 1))
        slow.wait_for(1)
        home.worker.kill()
        assert under_way.result().status == 200
    slow.go_on.set()
    begun = time.monotonic()
    for number in range(2, 5):
        assert gateway.ask("/api/chat", turn(1, number)).status == 200
    assert time.monotonic() - begun < 4
    assert turns(gateway)["home"] == 1
    with channel_to(fleet_broker) as channel:
        left = channel.queue_declare(OWN[home.node], passive=True).method
        assert (left.message_count, left.consumer_count) == (0, 0)


def test_turn_of_a_busy_node_goes_to_another_one_after_the_wait(pair: dict[str, Any], front: Start) -> None:
    # Gateways know nothing of each other: each takes the node for free.
    first, second, third = [ready(front(conversations={"wait": 0.5})) for _number in range(3)]
    assert first.ask("/api/chat", turn(1, 0)).status == 200
    home = home_of(pair, 1)
    other = next(node for node in pair.values() if node is not home)
    home.ollama.behave = slow = Slow(60)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(first.ask, "/api/chat", turn(1, 1))
        slow.wait_for(1)
        held = pool.submit(second.ask, "/api/chat", turn(1, 2))
        eventually(lambda: _pulls(home.worker), "the node to fetch requests only when it has room", 20)
        begun = time.monotonic()
        given_on = third.ask("/api/chat", turn(1, 3))
        assert given_on.status == 200
        assert 0.4 < time.monotonic() - begun < 5
        assert [len(body["messages"]) for _path, body in other.ollama.calls][-1] == 7
        assert turns(third) == {"lane": 1}
        home.ollama.behave = answer
        slow.go_on.set()
        assert [one.result().status for one in (running, held)] == [200, 200]
    assert turns(first) == {"home": 2}


def test_turn_passed_to_the_lane_of_all_nodes_keeps_its_deadline(pair: dict[str, Any], front: Start) -> None:
    gateway = ready(front(deadline=3, conversations={"wait": 0.5}))
    for node in pair.values():
        node.ollama.behave = Slow(60)
    with ThreadPoolExecutor(4) as pool:
        begun = time.monotonic()
        asked = [pool.submit(gateway.ask, "/api/chat", turn(number, 0)) for number in range(4)]
        assert {one.result().status for one in asked} == {504}
        assert 2.5 < time.monotonic() - begun < 6
    for node in pair.values():
        node.ollama.behave.go_on.set()
        eventually(lambda node=node: not node.worker.status()["in_flight"], "nobody to be worked for", 10)
    assert sum(len(node.ollama.calls) for node in pair.values()) <= 3


def _pulls(worker: Any) -> bool:
    lanes = worker.status()["lanes"]
    return all(one["state"] == "pull" for one in lanes if one["queue"] in OWN.values())
