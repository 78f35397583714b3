# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker comes up, loses lanes and gets them back, and leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Optional

import pytest
from fleet_worker._fleet.broker import Address, BrokerSettings
from fleet_worker._fleet.errors import FleetError
from fleet_worker.amqp.broken_lanes import PAUSES
from fleet_worker.amqp.registry_publisher import RegistrySettings
from fleet_worker.inference.circuit_breaker import BreakerSettings
from fleet_worker.inference.health import OllamaState
from fleet_worker.observe.metrics import Metrics
from fleet_worker.observe.recorder import RequestRecorder
from fleet_worker.runtime.supervisor import Supervisor
from fleet_worker.runtime.systemd import Notifier
from fleet_worker.runtime.watchdog import Watchdog
from fleet_worker.worker.drain import GOODBYE
from fleet_worker.worker.settings import WorkerSettings
from fleet_worker.worker.worker import RETRY_LANE, Worker
from pika.exceptions import ConnectionClosedByBroker

from ..deliveries import delivery, lane_settings
from ..fake_pika import FakeConnection, install
from ..manual_loop import ManualLoop

LANE, OTHER = lane_settings("chat"), lane_settings("embed", "other:1")
UP = OllamaState(up=True, models=frozenset({LANE.model_key, OTHER.model_key}))


class Handler:
    """A handler that nothing is asked of."""

    probe = unacceptable = used_up = None


class House:
    """A worker over a fake broker, and how it has ended."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.ends: list[Optional[FleetError]] = []
        settings = WorkerSettings(
            broker=BrokerSettings(addresses=(Address("127.0.0.1", 1),)),
            lanes=(LANE, OTHER),
            exchanges=("llm.request",),
            registry=RegistrySettings("gpu-01", slots=2),
            breaker=BreakerSettings(3, 30.0, 600.0),
            starvation=10.0,
            batch_bytes=1000,
            drain_timeout=60.0,
        )
        self.worker = Worker(
            self.loop,
            settings,
            Handler(),  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            RequestRecorder(Metrics("gpu-01")),
            Watchdog(Notifier(), Supervisor()),
            self.ends.append,
        )
        self.worker.start()

    @property
    def connection(self) -> FakeConnection:
        return FakeConnection.made[-1]

    def come_up(self) -> None:
        self.worker.health_changed(UP)
        self.connection.open()
        self.open_channels()

    def open_channels(self) -> None:
        while self.connection.opening:
            self.connection.open_channels()

    def lanes(self) -> dict[str, Any]:
        return {lane.queue: lane for lane in self.worker.status().lanes}


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    install(monkeypatch)
    return House()


def test_worker_with_broker_lanes_and_ollama_is_ready(house: House) -> None:
    assert not house.worker.status().ready
    house.come_up()
    status = house.worker.status()
    assert status.ready and status.connected and status.ollama_up
    assert status.summary == "2 of 2 lanes served (pull), 0 running, 0 held"
    assert {lane.reason for lane in status.lanes} == {""}


def test_worker_whose_lane_is_refused_before_it_was_ready_ends_with_the_reason(house: House) -> None:
    FakeConnection.refused.add(OTHER.queue)
    house.come_up()
    assert not house.connection.is_open
    house.connection.lose()
    assert [str(error) for error in house.ends] and OTHER.queue in str(house.ends[0])


def test_worker_whose_lane_is_refused_later_has_the_others_and_tries_again(house: House) -> None:
    house.come_up()
    house.worker.lane_lost(OTHER, "it was deleted", 5.0)
    assert house.lanes()[OTHER.queue].reason == "it was deleted; it is tried again in 5 s"
    assert house.lanes()[LANE.queue].reason == ""
    FakeConnection.refused.add(OTHER.queue)
    house.loop.turn(5.0)
    house.open_channels()
    assert "refuse" in house.lanes()[OTHER.queue].reason
    FakeConnection.refused.clear()
    house.loop.turn(RETRY_LANE)
    house.open_channels()
    assert house.lanes()[OTHER.queue].reason == "" and house.ends == []


def test_worker_that_loses_its_connection_pauses_all_lanes_and_comes_back(house: House) -> None:
    house.come_up()
    house.connection.lose()
    status = house.worker.status()
    assert status.summary.startswith("not connected to 127.0.0.1:1") and status.ready and not status.connected
    assert {lane.state for lane in status.lanes} == {"paused"}
    assert all(lane.reason.startswith("no connection: ") for lane in status.lanes)
    house.loop.turn(60.0)
    house.connection.open()
    house.open_channels()
    assert {lane.reason for lane in house.worker.status().lanes} == {""}
    assert house.worker.status().document()["counters"]["connections"] == 2


def test_worker_whose_broker_ends_the_connection_for_a_lane_serves_the_others_and_tries_the_lane_later(
    house: House,
) -> None:
    house.come_up()
    text = f"INTERNAL_ERROR - Cannot get a message from queue '{OTHER.queue}' in vhost '/': noproc"
    house.connection.lose(ConnectionClosedByBroker(541, text))
    house.loop.turn(1.0)
    house.connection.open()
    house.open_channels()
    lanes = house.lanes()
    assert (lanes[LANE.queue].state, lanes[LANE.queue].reason) == ("pull", "")
    assert lanes[OTHER.queue].state == "paused" and text in lanes[OTHER.queue].reason
    assert "it is tried again in" in lanes[OTHER.queue].reason
    house.worker.set_lanes([LANE])
    house.worker.set_lanes([LANE, OTHER])
    assert text in house.lanes()[OTHER.queue].reason, "a reload does not end the pause"
    house.loop.turn(PAUSES.base)
    house.open_channels()
    assert house.lanes()[OTHER.queue].reason == "" and house.ends == []


def test_worker_with_a_lane_more_declares_it(house: House) -> None:
    house.come_up()
    new = lane_settings("generate")
    house.worker.set_lanes([LANE, new])
    assert house.lanes()[new.queue].reason == "being declared" and OTHER.queue not in house.lanes()
    house.open_channels()
    assert {lane.reason for lane in house.worker.status().lanes} == {""}


def test_worker_with_more_routing_keys_of_a_lane_binds_its_queue_again(house: House) -> None:
    house.come_up()
    changed = replace(LANE, lane=replace(LANE.lane, more_keys=("llm.fleet.inference.another",)))
    house.worker.set_lanes([changed, OTHER])
    assert house.lanes()[LANE.queue].reason == "being declared" and house.lanes()[OTHER.queue].reason == ""
    house.open_channels()
    assert {lane.reason for lane in house.worker.status().lanes} == {""}


def test_worker_with_new_settings_of_a_lane_still_counts_its_running_requests(house: House) -> None:
    house.come_up()
    house.worker._requests.begin(delivery(lane=LANE))
    assert house.lanes()[LANE.queue].running == 1
    house.worker.set_lanes([replace(LANE, deadline=5.0), OTHER])
    assert (house.lanes()[LANE.queue].running, house.lanes()[OTHER.queue].running) == (1, 0)


def test_worker_without_a_connection_says_so_of_a_new_lane(house: House) -> None:
    house.worker.set_lanes([lane_settings("generate")])
    assert [lane.reason for lane in house.worker.status().lanes] == ["no connection"]


def test_worker_that_has_nothing_to_finish_leaves_at_once_and_ends_once_it_is_away(house: House) -> None:
    house.come_up()
    house.worker.drain()
    assert not house.connection.is_open and house.ends == []
    assert house.worker.status().draining
    house.connection.lose()
    assert house.ends == [None]


def test_worker_whose_broker_does_not_say_goodbye_ends_all_the_same(house: House) -> None:
    house.come_up()
    house.worker.drain()
    house.loop.turn(GOODBYE)
    assert house.ends == [None]


def test_status_document_is_json_with_its_fields_in_order(house: House) -> None:
    house.come_up()
    document = json.loads(json.dumps(house.worker.status().document()))
    assert list(document) == [
        "summary",
        "thread_trouble",
        "ready",
        "connected",
        "blocked",
        "draining",
        "ollama_up",
        "broker",
        "since",
        "slots",
        "held",
        "lanes",
        "in_flight",
        "rates",
        "counters",
    ]
    assert document["lanes"][0] == {
        "queue": LANE.queue,
        "model": "m:1",
        "type": "chat",
        "style": "model",
        "context_window": None,
        "state": "pull",
        "reason": "",
        "running": 0,
        "answered": 0,
    }
    assert document["counters"] == {"connections": 1} and set(document["rates"]) == {"1m", "5m"}
