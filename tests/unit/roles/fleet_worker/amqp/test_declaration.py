# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lanes are declared, and what the broker refuses or does not answer concerns no other lane."""

from __future__ import annotations

from typing import Any, Callable, Optional

import pytest
from fleet_worker._fleet.broker import BrokerSettings
from fleet_worker._fleet.errors import BrokerError
from fleet_worker._fleet.lanes import lane
from fleet_worker.amqp import declaration
from fleet_worker.amqp.declaration import Declaration
from pika.exceptions import ChannelClosedByBroker

LANES = [lane("chat", "one:1b"), lane("chat", "two:1b")]
FIRST, SECOND = (one.queue for one in LANES)


class Broker:
    """A connection whose broker answers when a test lets it."""

    def __init__(self) -> None:
        self.is_open = True
        self.asked: list[tuple[str, str]] = []
        self.told: list[dict[str, Optional[BrokerError]]] = []
        self.timers: list[Callable[[], None]] = []
        self._answer: Callable[[Any], None]
        Declaration(self, LANES, ["llm.request"], BrokerSettings(addresses=()), self.told.append).start()  # type: ignore[arg-type]

    def channel(self, on_open_callback: Callable[[Any], None]) -> Broker:
        self.timers.append(lambda: on_open_callback(self))
        return self

    def add_on_close_callback(self, callback: Callable[[Any, Any], None]) -> None:
        self._closed = callback

    def call_later(self, _seconds: float, callback: Callable[[], None]) -> None:
        self.timers.append(callback)

    def queue_declare(self, queue: str, callback: Callable[[Any], None], **_options: Any) -> None:
        self.asked.append(("declare", queue))
        self._answer = callback

    def queue_bind(self, queue: str, _exchange: str, _key: str, callback: Callable[[Any], None]) -> None:
        self.asked.append(("bind", queue))
        self._answer = callback

    def close(self) -> None:
        self.asked.append(("close", ""))

    def answer(self, number: int = 1) -> None:
        for _answer in range(number):
            self._answer(None)

    def refuse(self) -> None:
        self._closed(self, ChannelClosedByBroker(404, "NOT_FOUND - no exchange 'llm.request' in vhost '/'"))
        self.pass_time()

    def pass_time(self) -> None:
        timers, self.timers = self.timers, []
        for timer in timers:
            timer()


def started() -> Broker:
    broker = Broker()
    patience, opened = broker.timers
    broker.timers = [patience]
    opened()
    return broker


def test_declaration_over_a_connection_that_closes_opens_no_channel() -> None:
    """pika would raise. Meanwhile the broker may still refuse a queue, or a reload may add a lane."""
    broker = started()
    broker.is_open = False
    broker.timers.clear()
    broker.refuse()
    Declaration(broker, LANES, ["llm.request"], BrokerSettings(addresses=()), broker.told.append).start()  # type: ignore[arg-type]
    assert len(broker.timers) == 1, "only its patience, which the link does not let run out"
    assert broker.asked == [("declare", FIRST)] and broker.told == []


def test_declaration_of_a_broker_in_order_tells_once_of_all_lanes() -> None:
    broker = started()
    broker.answer(4)
    assert broker.asked == [("declare", FIRST), ("declare", SECOND), ("bind", FIRST), ("bind", SECOND), ("close", "")]
    broker.pass_time()
    assert broker.told == [{FIRST: None, SECOND: None}]


def test_declaration_whose_binds_are_not_answered_tells_that_the_queues_are_there() -> None:
    broker = started()
    broker.answer(2)
    broker.pass_time()
    assert broker.told == [{FIRST: None, SECOND: None}]
    broker.pass_time()
    broker.answer(2)
    assert broker.told == [{FIRST: None, SECOND: None}], "and there is no news in the end"


def test_declaration_of_a_lane_that_is_refused_goes_on_with_the_other() -> None:
    broker = started()
    broker.answer(2)
    broker.refuse()
    broker.answer()
    (told,) = broker.told
    assert told[FIRST] is not None and "does not exist" in str(told[FIRST]) and told[SECOND] is None


def test_declaration_of_a_lane_that_is_refused_late_tells_of_it_alone() -> None:
    broker = started()
    broker.answer(2)
    broker.pass_time()
    broker.refuse()
    broker.answer()
    assert [list(told) for told in broker.told] == [[FIRST, SECOND], [FIRST]]


def test_declaration_of_a_queue_that_is_silent_goes_on_with_the_other_and_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(declaration.time, "monotonic", lambda: now)
    broker = started()
    late = broker._answer
    now = declaration.PATIENCE
    broker.pass_time()
    late(None)  # by the channel that was set aside: the channel is closed, and the queue is declared again
    broker.pass_time()
    broker.answer(2)
    assert broker.asked == [
        ("declare", FIRST),
        ("close", ""),
        ("declare", SECOND),
        ("bind", SECOND),
        ("declare", FIRST),
    ]
    broker.pass_time()
    assert broker.told == [{SECOND: None}]
    broker.answer(2)
    assert broker.told == [{SECOND: None}, {FIRST: None}]
    assert broker.asked[5:] == [("bind", FIRST), ("close", "")]
