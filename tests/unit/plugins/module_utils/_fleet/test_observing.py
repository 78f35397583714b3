# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes, gathered from registry events."""

from __future__ import annotations

import json
from typing import Optional

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import Message
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.observing import Register, RegistryEntry, nodes
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.registry import AVAILABLE, UNAVAILABLE, Offering


def entry(queue: str, status: Optional[str], at: str = "1", **others: object) -> RegistryEntry:
    return RegistryEntry("gpu-01", queue, "", at, status=status, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "statuses, state",
    [
        (["available", "available"], "available"),
        (["available", "degraded"], "degraded"),
        (["unavailable", "unavailable"], "unavailable"),
        (["available", "unavailable"], "available"),
        (["degraded", "unavailable"], "degraded"),
        ([None], "degraded"),
        (["odd"], "degraded"),
    ],
)
def test_nodes_of_lane_statuses_have_one_state(statuses: list[Optional[str]], state: str) -> None:
    (node,) = nodes(entry(f"q{number}", status) for number, status in enumerate(statuses))
    assert node.state == state


def test_nodes_count_only_models_that_are_served() -> None:
    (node,) = nodes([entry("a", "available", model="m"), entry("b", "degraded", model="n"), entry("c", "available")])
    assert node.models == ("m",)


def test_nodes_have_the_version_of_the_latest_event() -> None:
    (node,) = nodes(
        [entry("a", "available", "2", worker_version="2.0"), entry("b", "available", "1", worker_version="1.0")]
    )
    assert node.worker_version == "2.0"


@pytest.mark.parametrize("queue", ["x" * 256, "\ud800", "a\nb", "\u00e9" * 128])
def test_register_lane_that_no_queue_can_have_is_left_out(queue: str) -> None:
    register = Register()
    message = Offering(lane("chat", "m"), "gpu-01", 2).event(AVAILABLE).message
    body = json.dumps({**json.loads(message.body), "lane": queue}).encode()
    register.add(Message(message.properties, message.headers, body))
    assert register.latest == []


def test_register_bounds_and_escapes_the_texts_of_an_event() -> None:
    register = Register()
    message = Offering(lane("chat", "m"), "gpu-01", 2).event(AVAILABLE).message
    document = json.loads(message.body)
    document["runtime"]["node"] = "gpu-\ud800\n" + "x" * 1000
    document["offering"]["model"] = "m\u202e" + "x" * 5000
    document["health"].update(status="s" * 5000, error="e\x1b[2J" + "x" * 5000)
    document["occurred_at"] = "9" * 5000
    register.add(Message(message.properties, message.headers, json.dumps(document).encode()))
    (found,) = register.latest
    texts = [value for value in vars(found).values() if isinstance(value, str)]
    assert all(text.isprintable() for text in texts) and sum(map(len, texts)) < 4000
    assert found.node.startswith("gpu-\\ud800\\nxxx")


def test_register_leaves_out_an_event_that_is_too_large() -> None:
    register = Register()
    message = Offering(lane("chat", "m"), "gpu-01", 2).event(AVAILABLE).message
    body = json.dumps({**json.loads(message.body), "padding": "x" * 65536}).encode()
    register.add(Message(message.properties, message.headers, body))
    assert register.latest == []


def test_register_keeps_the_latest_event_and_the_version_in_it() -> None:
    register = Register()
    offering = Offering(lane("chat", "m"), "gpu-01", 2, worker_version="1.2.3")
    first, last = offering.event(AVAILABLE).message, offering.event(UNAVAILABLE).message
    register.add(last)
    register.add(first)
    (node,) = nodes(register.latest)
    assert (node.state, node.worker_version, node.concurrency) == ("unavailable", "1.2.3", 2)


def test_register_keeps_the_event_of_a_node_whose_clock_has_stepped_back() -> None:
    now = [0.0]
    register = Register(lambda: now[0])
    offering = Offering(lane("chat", "m"), "gpu-01", 2)
    by_the_new_clock, by_the_old_clock = offering.event(UNAVAILABLE).message, offering.event(AVAILABLE).message
    register.add(by_the_old_clock)
    now[0] += 30
    register.add(by_the_new_clock)
    assert [one.status for one in register.latest] == ["unavailable"]
