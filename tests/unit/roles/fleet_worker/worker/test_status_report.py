# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of the worker: which of its states the line names, and the reason for each lane."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from fleet_worker.domain.delivery import LaneSettings
from fleet_worker.inference.health import OllamaState
from fleet_worker.observe.counts import Counts
from fleet_worker.scheduling.actions import Mode
from fleet_worker.worker.drain import Drain
from fleet_worker.worker.lane_board import LaneBoard
from fleet_worker.worker.status_report import SILENT, StatusReport

from ..deliveries import lane_settings

LANE, OTHER = lane_settings("chat"), lane_settings("embed", "other:1")
UP = OllamaState(up=True, models=frozenset({LANE.model_key, OTHER.model_key}))


class House:
    """The parts of a worker with two served lanes, and a report of them."""

    def __init__(self, *more: LaneSettings) -> None:
        self.broken: dict[str, str] = {}
        self.silent: set[str] = set()
        self.requests: list[Any] = []
        self.pausing: list[Any] = []
        self.board = LaneBoard([LANE, OTHER, *more], lambda key: self.broken.get(key, ""), lambda _key: "")
        self.board.ollama_is(UP)
        self.session = SimpleNamespace(
            is_connected=True, address="hub:5672", blocked=False, registry=SimpleNamespace(counters={})
        )
        scheduler = SimpleNamespace(
            held=2, slots=4, mode=Mode.PUSH, mode_of=lambda _queue: "push", is_silent=self.silent.__contains__
        )
        recorder = SimpleNamespace(rates=dict, counts=lambda _events: Counts(), answered=len)
        self.drain = Drain(60.0)
        parts: list[Any] = [
            *(self.session, self.board, scheduler, self.requests),
            *(SimpleNamespace(pausing=lambda: self.pausing), self.drain, recorder, SimpleNamespace(trouble="")),
        ]
        self.report = StatusReport(*parts)

    def run(self, correlation_id: Any = "c-1", *, has_slot: bool = True, lane: Any = LANE) -> None:
        self.requests.append(
            SimpleNamespace(lane=lane, correlation_id=correlation_id, has_slot=has_slot, started=time.monotonic() - 5.0)
        )

    def lanes(self) -> dict[str, Any]:
        return {lane.queue: lane for lane in self.report.status(ready=True).lanes}


@pytest.fixture
def house() -> House:
    return House()


def test_summary_counts_the_requests_with_a_slot(house: House) -> None:
    house.run()
    house.run(has_slot=False)
    assert house.report.summary() == "2 of 2 lanes served (push), 1 running, 2 held"


def test_summary_names_the_requests_that_wait_for_a_busy_ollama(house: House) -> None:
    house.pausing = ["a", "b"]
    assert house.report.summary().endswith("2 held, 2 waiting for a busy Ollama")


def test_summary_of_a_worker_with_an_alarm_names_the_alarm(house: House) -> None:
    house.session.blocked = True
    assert house.report.summary().endswith("; the broker has an alarm and takes no answers")


def test_summary_names_the_most_frequent_reason_of_paused_lanes() -> None:
    house = House(lane_settings("generate", "other:1"))
    house.broken.update({LANE.loaded: "no driver", OTHER.loaded: "no memory"})
    assert house.report.summary() == "0 of 3 lanes served (push), 0 running, 2 held; 2 paused: no memory"


def test_summary_counts_the_lanes_that_are_served(house: House) -> None:
    house.broken[LANE.loaded] = "no memory"
    assert house.report.summary() == "1 of 2 lanes served (push), 0 running, 2 held; 1 paused: no memory"
    house.board.ollama_is(OllamaState(up=False, reason="it sleeps"))
    assert house.report.summary().startswith("0 of 2 lanes served")
    assert "; 2 paused: " in house.report.summary()


def test_summary_without_a_connection_names_the_address_only(house: House) -> None:
    house.session.is_connected = False
    assert house.report.summary() == "not connected to hub:5672; 0 running, 2 held"


def test_summary_of_a_drain_names_the_rest_of_its_time_also_without_a_connection(house: House) -> None:
    house.session.is_connected = False
    house.drain.begin()
    assert house.report.summary() == "draining: 0 running, 2 held, 60 s left"
    assert house.report.status(ready=True).draining


def test_lane_counts_its_own_requests_with_a_slot(house: House) -> None:
    house.run()
    house.run(has_slot=False)
    house.run(lane=OTHER)
    lanes = house.lanes()
    assert (lanes[LANE.queue].running, lanes[OTHER.queue].running) == (1, 1)
    assert lanes[LANE.queue].answered == len(LANE.queue)


def test_lane_whose_broker_is_silent_says_so_unless_it_has_another_reason(house: House) -> None:
    house.silent.update({LANE.queue, OTHER.queue})
    house.broken[LANE.loaded] = "no memory"
    lanes = house.lanes()
    assert (lanes[LANE.queue].state, lanes[LANE.queue].reason) == ("degraded", "no memory")
    assert (lanes[OTHER.queue].state, lanes[OTHER.queue].reason) == ("push", SILENT)
    house.silent.clear()
    assert house.lanes()[OTHER.queue].reason == ""


@pytest.mark.parametrize("identifier, shown", [("c-1", "c-1"), (None, None), ("a\x1b[2J", "printable")])
def test_request_is_reported_with_its_time_and_a_printable_identifier(
    house: House, identifier: Any, shown: Any
) -> None:
    house.run(identifier)
    (request,) = house.report.status(ready=False).in_flight
    assert request.lane == LANE.queue and request.seconds == pytest.approx(5.0, abs=1.0)
    if shown == "printable":
        assert request.correlation_id is not None and request.correlation_id.isprintable()
    else:
        assert request.correlation_id == shown


def test_request_with_an_identifier_of_bytes_is_reported_as_text(house: House) -> None:
    """pika returns an identifier that is not UTF-8 as bytes."""
    house.run(b"\xff")
    (request,) = house.report.status(ready=True).in_flight
    assert isinstance(request.correlation_id, str)
