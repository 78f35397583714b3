# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of a fleet, found in messages and in silence."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet import fleet_watch
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broadcasts import (
    DONE,
    FAILED,
    IMPORT,
    PLAN,
    NodeReport,
    Order,
    order_message,
    outcome_message,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.fleet_watch import FleetWatch
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import Message, Properties
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.registry import (
    AVAILABLE,
    DEGRADED,
    HEARTBEAT,
    TYPE,
    UNAVAILABLE,
    Offering,
    Trouble,
)

NODE_TIMEOUT, LANE_TIMEOUT = 75.0, 35.0
CHAT = lane("chat", "llama3").queue


@pytest.fixture
def watch() -> FleetWatch:
    return FleetWatch(NODE_TIMEOUT, LANE_TIMEOUT)


def event(node: str, kind: str, model: str = "llama3", trouble: Optional[str] = None) -> Message:
    offering = Offering(lane("chat", model), node, 2, worker_version="1.0.0")
    return offering.event(kind, None if trouble is None else Trouble(trouble, "it {{ is }} so")).message


def types(changes: list[dict[str, Any]]) -> list[str]:
    return [change["type"] for change in changes]


def test_watch_node_first_heard_joins_once(watch: FleetWatch) -> None:
    assert watch.hear(event("gpu-01", AVAILABLE), 0) == [
        {"type": "node_joined", "node": "gpu-01", "worker_version": "1.0.0"}
    ]
    assert watch.hear(event("gpu-01", HEARTBEAT), 30) == []
    assert watch.hear(event("gpu-01", AVAILABLE, "mistral"), 31) == []


def test_watch_silent_node_is_gone_and_its_lane_unserved_later(watch: FleetWatch) -> None:
    watch.hear(event("gpu-01", AVAILABLE), 0)
    assert watch.check(NODE_TIMEOUT - 1) == []
    assert watch.check(NODE_TIMEOUT) == [{"type": "node_gone", "node": "gpu-01", "left": False, "lanes": [CHAT]}]
    assert watch.check(NODE_TIMEOUT + LANE_TIMEOUT - 1) == []
    (change,) = watch.check(NODE_TIMEOUT + LANE_TIMEOUT)
    assert change == {"type": "lane_unserved", "lane": CHAT, "model": "llama3", "request_type": "chat", "nodes": []}
    assert watch.check(1000) == []
    assert types(watch.hear(event("gpu-02", AVAILABLE), 1001)) == ["node_joined", "lane_served"]


def test_watch_silent_lane_of_a_node_that_is_heard_is_unserved(watch: FleetWatch) -> None:
    watch.hear(event("gpu-01", AVAILABLE), 0)
    watch.hear(event("gpu-01", DEGRADED, "mistral", "model_broken"), 0)
    watch.hear(event("gpu-01", AVAILABLE, "qwen3"), 0)
    watch.hear(event("gpu-01", HEARTBEAT, "qwen3"), NODE_TIMEOUT - 1)
    changes = watch.check(NODE_TIMEOUT)
    assert changes == [
        {"type": "node_recovered", "node": "gpu-01"},
        {
            "type": "lane_unserved",
            "lane": lane("chat", "mistral").queue,
            "model": "mistral",
            "request_type": "chat",
            "nodes": [],
        },
    ]
    (change,) = watch.check(NODE_TIMEOUT + LANE_TIMEOUT)
    assert (change["type"], change["lane"], change["nodes"]) == ("lane_unserved", CHAT, [])
    (change,) = watch.check(2 * NODE_TIMEOUT)
    assert (change["type"], change["lanes"]) == ("node_gone", [lane("chat", "qwen3").queue])


def test_watch_node_that_leaves_is_gone_at_once(watch: FleetWatch) -> None:
    watch.hear(event("gpu-01", AVAILABLE), 0)
    watch.hear(event("gpu-01", AVAILABLE, "mistral"), 0)
    assert watch.hear(event("gpu-01", UNAVAILABLE), 1) == []
    (change,) = watch.hear(event("gpu-01", UNAVAILABLE, "mistral"), 2)
    assert (change["type"], change["left"]) == ("node_gone", True)
    assert watch.hear(event("gpu-01", UNAVAILABLE), 3) == []


def test_watch_degraded_node_is_reported_for_each_reason_and_recovers(watch: FleetWatch) -> None:
    first = watch.hear(event("gpu-01", DEGRADED, trouble="model_not_loaded"), 0)
    assert types(first) == ["node_joined", "node_degraded"]
    assert first[1]["error_class"] == "model_not_loaded"
    assert watch.hear(event("gpu-01", DEGRADED, trouble="model_not_loaded"), 30) == []
    assert types(watch.hear(event("gpu-01", DEGRADED, trouble="ollama_unavailable"), 31)) == ["node_degraded"]
    assert types(watch.check(LANE_TIMEOUT)) == ["lane_unserved"]
    assert types(watch.hear(event("gpu-01", AVAILABLE), 40)) == ["lane_served", "node_recovered"]


def test_watch_lane_served_by_another_node_is_not_unserved(watch: FleetWatch) -> None:
    watch.hear(event("gpu-01", DEGRADED, trouble="model_not_loaded"), 0)
    watch.hear(event("gpu-02", AVAILABLE), 1)
    assert watch.check(70) == []


def test_watch_that_resumes_forgives_the_silence(watch: FleetWatch) -> None:
    watch.hear(event("gpu-01", AVAILABLE), 0)
    watch.hear(event("gpu-02", DEGRADED, "mistral", "model_not_loaded"), 0)
    watch.resume(1000)
    assert watch.check(1000 + LANE_TIMEOUT - 1) == []
    assert types(watch.check(1000 + NODE_TIMEOUT)) == ["node_gone", "node_gone", "lane_unserved"]


def test_watch_late_event_changes_nothing(watch: FleetWatch) -> None:
    early, late = event("gpu-01", DEGRADED, trouble="model_not_loaded"), event("gpu-01", AVAILABLE)
    watch.hear(late, 0)
    assert watch.hear(early, 1) == []


def test_watch_node_whose_clock_steps_back_stays_and_is_believed(watch: FleetWatch) -> None:
    heartbeat, degraded = event("gpu-01", HEARTBEAT), event("gpu-01", DEGRADED, trouble="model_not_loaded")
    watch.hear(event("gpu-01", AVAILABLE), 0)
    assert watch.hear(heartbeat, 30) == watch.hear(heartbeat, 60) == []
    assert watch.check(NODE_TIMEOUT) == []
    assert types(watch.hear(degraded, 90)) == ["node_degraded"]


def test_watch_broadcast_and_outcomes_are_reported(watch: FleetWatch) -> None:
    order = Order(IMPORT, "llama3", ("gpu-01", "{{ x }}"))
    assert watch.hear(order_message(order, "c", "q", 5), 0) == [
        {"type": "model_announced", "model": "llama3", "nodes": ["gpu-01"]}
    ]
    done = outcome_message(order, NodeReport("gpu-01", DONE, {"changed": True})).message
    assert watch.hear(done, 0) == [{"type": "model_imported", "node": "gpu-01", "model": "llama3", "changed": True}]
    failed = NodeReport("gpu-01", FAILED, error={"code": "disk_full", "message": "{% no %} room"})
    assert watch.hear(outcome_message(order, failed).message, 0) == [
        {
            "type": "model_import_failed",
            "node": "gpu-01",
            "model": "llama3",
            "error_class": "disk_full",
            "error": "(% no %) room",
        }
    ]
    plan = Order(PLAN, "llama3")
    assert watch.hear(order_message(plan, "c", "q", 5), 0) == []
    assert watch.hear(outcome_message(plan, NodeReport("gpu-01", DONE)).message, 0) == []


@pytest.mark.parametrize("node", ["{{ 1 }}", "localhost", "127.0.0.1", "all", "a b", "-x", "x" * 300, "gpu\n"])
def test_watch_name_that_no_host_has_is_ignored(watch: FleetWatch, node: str) -> None:
    assert watch.hear(event(node, AVAILABLE), 0) == []


def test_watch_texts_of_strangers_have_no_braces(watch: FleetWatch) -> None:
    made = event("gpu-01", DEGRADED, "llama3", "a{{b}}")
    hostile = made.body.replace(b'"llama3"', b'"{{ model }}"').replace(b'"1.0.0"', b'"{# 1 #}"')
    changes = watch.hear(Message(made.properties, {}, hostile.replace(b'"chat"', b'"{% chat"')), 0)
    assert types(changes) == ["node_joined", "node_degraded"]
    assert "{" not in repr([list(change.values()) for change in changes])


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"function": 1}', b'{"node": [], "state": {}}', b"\xff"])
@pytest.mark.parametrize("kind", [None, TYPE, "legionio.fleet.outcome"])
def test_watch_message_that_says_nothing_is_ignored(watch: FleetWatch, body: bytes, kind: Optional[str]) -> None:
    assert watch.hear(Message(Properties(type=kind), {}, body), 0) == []


def test_watch_memory_is_bounded(watch: FleetWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_watch, "MAX_ENTRIES", 3)
    joined = [watch.hear(event(f"gpu-{number}", AVAILABLE, f"m{number}"), 0) for number in range(5)]
    assert [len(changes) for changes in joined] == [1, 1, 1, 0, 0]
    assert len(watch.check(NODE_TIMEOUT)) == 3
    assert types(watch.hear(event("gpu-9", AVAILABLE, "m9"), NODE_TIMEOUT)) == ["node_joined"]
