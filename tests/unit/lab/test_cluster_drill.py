# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drill of a cluster finds what it looks for: each check fails where it should."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cluster_drill
import pytest
from cluster_drill import SERVED_WITHIN, Drill, Report, Scene, longest_gap, waited_too_long, wrong_consumers
from cluster_faults import all_leader_faults, pause_leader, restart_all
from history import Event, Happened, judge
from lane_requesters import LaneRequester

HEARTBEAT = 5


def test_longest_gap_of_a_lane_counts_the_time_after_the_last_answer() -> None:
    assert longest_gap([11.0, 12.0], 10.0, 40.0) == 28.0
    assert longest_gap([15.0, 35.0, 39.0, 90.0], 10.0, 40.0) == 20.0
    assert longest_gap([], 10.0, 40.0) == 30.0


@pytest.mark.parametrize(
    "served_again, gap, problems",
    [(1.0, 1.0, 0), (SERVED_WITHIN + 1.0, 1.0, 1), (1.0, SERVED_WITHIN + 1.0, 1)],
)
def test_waited_too_long_judges_both_waits_of_a_fault_that_lasts_no_time(
    served_again: float, gap: float, problems: int
) -> None:
    report = Report("rolling restart", longest_gap=gap, served_again=served_again)
    assert len(waited_too_long(report, restart_all())) == problems


def test_waited_too_long_allows_for_the_time_of_the_fault() -> None:
    fault = pause_leader(HEARTBEAT, 3)
    assert not waited_too_long(Report("", longest_gap=SERVED_WITHIN + 15.0), fault)
    assert waited_too_long(Report("", longest_gap=SERVED_WITHIN + 15.1), fault)


def drill_with(*reports: Report) -> Drill:
    drill = Drill(SimpleNamespace(nodes=[]), [], [], HEARTBEAT)  # type: ignore[arg-type]
    drill.reports += reports
    return drill


def test_slower_compares_the_median_of_each_kind_of_fault() -> None:
    killed = [
        Report(f"leader killed (mq{number})", before=20.0, after=after) for number, after in enumerate((9, 20, 21))
    ]
    paused = [
        Report(f"leader paused (mq{number})", before=20.0, after=after) for number, after in enumerate((9, 18, 21))
    ]
    assert drill_with(*killed).slower() == []
    (problem,) = drill_with(*killed, *paused).slower()
    assert problem == "leader paused: the throughput was 0.900 of that before (median of 3)"


def worker(state: str = "push", queue: str = "lane") -> dict[str, Any]:
    return {"lanes": [{"queue": queue, "state": state}]}


@pytest.mark.parametrize(
    "states, consumers, wrong",
    [
        ([worker(), worker()], 2, 0),
        ([worker(), worker()], 4, 0),
        ([worker(), worker()], 1, 1),
        ([worker(), worker()], 0, 1),
        ([worker(), worker()], 5, 1),
        ([worker(), worker("pull")], 1, 1),
        ([worker("paused"), worker("paused")], 1, 2),
    ],
    ids=["right", "second consumers", "a lie", "all lie", "of somebody gone", "one does not push", "nobody pushes"],
)
def test_wrong_consumers_compares_workers_with_the_broker(
    states: list[dict[str, Any]], consumers: int, wrong: int
) -> None:
    assert len(wrong_consumers(states, {"lane": consumers}, ["lane"])) == wrong


def test_status_of_a_worker_that_says_it_is_connected_to_a_silent_node_is_a_lie() -> None:
    victim = SimpleNamespace(host="10.0.0.1", host_name="mq0")
    scene = Scene(None, [], [], victim, HEARTBEAT)  # type: ignore[arg-type]
    watch = cluster_drill._StatusWatch(scene)
    watch.gone_since = 100.0
    state = {"connected": True, "broker": "10.0.0.1:5672", "lanes": [], "summary": ""}
    watch.judge(SimpleNamespace(name="gpu-0"), state, watch.noticed - 1.0)  # type: ignore[arg-type]
    assert not watch.lies
    watch.judge(SimpleNamespace(name="gpu-0"), state, watch.noticed + 1.0)  # type: ignore[arg-type]
    assert len(watch.lies) == 1


def test_all_leader_faults_have_one_that_lasts_until_a_worker_must_have_noticed_it() -> None:
    watch = cluster_drill._StatusWatch(Scene(None, [], [], None, HEARTBEAT))  # type: ignore[arg-type]
    watch.gone_since = 0.0
    assert any(fault.gone and fault.seconds > watch.noticed + 5.0 for fault in all_leader_faults(HEARTBEAT))


def test_requester_of_a_drill_records_an_error_as_one() -> None:
    events: list[Event] = []

    def happened(what: Happened, request: str, code: str, marked: bool) -> None:
        events.append(Event(what, request, 1.0, detail=code, marked=marked))

    requester = LaneRequester(None, [], "lane", 0, happened)
    happened(Happened.SENT, "r", "", False)
    channel = SimpleNamespace(basic_ack=lambda _tag: None)
    method = SimpleNamespace(delivery_tag=1, redelivered=False)
    headers = {"x-legion-fleet-error": "ollama_unavailable"}
    properties = SimpleNamespace(message_id="m", correlation_id="r", headers=headers)
    requester._answered(channel, method, properties, b"")
    assert [found.kind for found in judge(events).findings] == ["failed"]
