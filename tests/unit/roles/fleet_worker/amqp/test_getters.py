# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The channels for single requests: which one runs a get, which one runs none any more, and when it is closed."""

from __future__ import annotations

import time
from typing import Any, Callable, Optional

import pytest
from fleet_worker.amqp.getters import PATIENCE, GetRequest, Getters
from fleet_worker.domain.delivery import Delivery, LaneSettings
from fleet_worker.domain.settlement import Settlement

from ..deliveries import delivery, lane_settings
from .manual_connection import ManualChannel, ManualConnection

LANE, OTHER, THIRD = (lane_settings("chat", f"{name}:1") for name in ("a", "b", "c"))


class Link(ManualConnection):
    """A connection with getters on it, and the outcome of each get.

    :param rejects: whether each message is one that cannot be a delivery.
    """

    def __init__(self, number: int = 2, *, once: bool = False, rejects: bool = False) -> None:
        super().__init__()
        self.said: list[tuple[Any, ...]] = []
        self.waits: list[float] = []
        self.deliveries: list[Delivery] = []
        self.rejects = rejects
        self.getters = Getters(self, number, self.receive, once=once)  # type: ignore[arg-type]
        self.getters.open()
        self.open()

    def receive(
        self, lane: LaneSettings, channel: Any, method: Any, _properties: Any, _body: bytes
    ) -> Optional[Delivery]:
        if self.rejects:
            return None
        made = delivery(lane=lane, channel=channel, tag=method.delivery_tag)
        self.deliveries.append(made)
        return made

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.waits.append(seconds)
        super().call_later(seconds, callback)

    def get(self, lane: LaneSettings, *, keeps_alive: bool = False) -> None:
        def say(word: str) -> Callable[..., None]:
            return lambda *values: self.said.append((word, lane.queue, *values))

        self.getters.ask(
            GetRequest(
                lane,
                answered=lambda found, more: self.said.append(("answered", lane.queue, found is not None, more)),
                refused=lambda error: self.said.append(("refused", lane.queue, error.reply_code)),
                overdue=say("overdue"),
                late=lambda found: self.said.append(("late", lane.queue, found is not None)),
                consumed=say("consumed") if keeps_alive else None,
            )
        )

    def asked(self) -> list[str]:
        """The queues of the gets that are at the broker."""
        return [channel.asked for channel in self.channels if channel.asked]

    def answer_empty(self, queue: str) -> ManualChannel:
        channel = self.asking(queue)
        channel.asked = ""
        channel.empty(None)
        return channel


def test_get_beyond_the_free_channels_waits_for_the_next_free_one() -> None:
    link = Link(number=2)
    for lane in (LANE, OTHER, THIRD):
        link.get(lane)
    assert sorted(link.asked()) == [LANE.queue, OTHER.queue]
    free = link.answer_empty(OTHER.queue)
    assert free.asked == THIRD.queue
    assert link.said == [("answered", OTHER.queue, False, 0)] and len(link.channels) == 2


def test_get_before_a_channel_is_open_runs_when_it_opens() -> None:
    link = Link(number=1)
    link.getters.open()
    link.get(LANE)
    assert link.asked() == []
    link.open()
    assert link.channels[-1].asked == LANE.queue


def test_get_with_an_answer_reports_the_request_and_the_number_of_others() -> None:
    link = Link()
    link.get(LANE)
    link.asking(LANE.queue).answer(more=3)
    assert link.said == [("answered", LANE.queue, True, 3)]


def test_get_of_a_message_that_was_rejected_reports_no_request_and_frees_its_channel() -> None:
    link = Link(number=1, once=True, rejects=True)
    link.get(LANE)
    link.asking(LANE.queue).answer(more=3)
    link.get(OTHER)
    assert link.said == [("answered", LANE.queue, False, 3)] and len(link.channels) == 1


def test_message_that_nobody_asked_for_is_not_received() -> None:
    link = Link(number=1)
    link.get(LANE)
    channel = link.asking(LANE.queue)
    channel.answer()
    channel.answer(tag=2)
    assert len(link.deliveries) == 1 and len(link.said) == 1


def test_get_whose_answer_asks_again_uses_the_same_channel() -> None:
    """The channel is free before the scheduler hears of the answer."""
    link = Link(number=1)
    request = GetRequest(LANE, lambda *_answer: link.get(OTHER), *[lambda *_values: None] * 3)
    link.getters.ask(request)
    link.answer_empty(LANE.queue)
    assert link.asked() == [OTHER.queue] and len(link.channels) == 1


# Channels for the first get of each lane


def test_channel_for_first_gets_runs_another_get_until_its_first_delivery() -> None:
    link = Link(number=1, once=True)
    link.get(LANE)
    first = link.answer_empty(LANE.queue)
    link.get(OTHER)
    assert first.asked == OTHER.queue
    first.answer()
    link.get(THIRD)
    assert len(link.channels) == 2 and first.asked == "" and first.is_open
    link.open()
    assert link.channels[1].asked == THIRD.queue


def test_channel_for_first_gets_is_closed_once_its_delivery_is_settled() -> None:
    link = Link(number=1, once=True)
    link.get(LANE)
    first = link.asking(LANE.queue)
    first.answer()
    link.getters.close_retired()
    assert first.is_open, "the broker would requeue the delivery"
    link.deliveries[0].ack()
    link.get(OTHER)
    assert not first.is_open
    link.getters.close_retired()


def test_channel_for_all_gets_keeps_running_gets_after_a_delivery() -> None:
    link = Link(number=1)
    for tag in (1, 2):
        link.get(LANE)
        link.asking(LANE.queue).answer(tag=tag)
    assert len(link.channels) == 1


# Overdue gets


def test_get_is_overdue_after_the_patience_and_another_channel_replaces_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = Link(number=1)
    link.get(LANE)
    link.get(OTHER)
    assert link.waits == [pytest.approx(PATIENCE, abs=0.5)]
    link.wait(monkeypatch)
    assert link.said == [("overdue", LANE.queue)]
    assert [channel.asked for channel in link.channels] == [LANE.queue, OTHER.queue]


def test_get_that_is_not_overdue_at_the_check_is_checked_when_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    link = Link(number=3)
    for lane in (LANE, OTHER, THIRD):
        link.get(lane)
        now += 2.0
    assert link.waits == [PATIENCE], "one timer for the oldest get"
    now = 1000.0
    link.wait(monkeypatch)
    assert link.said == [("overdue", LANE.queue)]
    assert link.waits == [PATIENCE, 2.0]


def test_check_after_all_gets_were_answered_sets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link()
    link.get(LANE)
    link.answer_empty(LANE.queue)
    link.wait(monkeypatch)
    assert len(link.waits) == 1
    link.get(LANE)
    assert len(link.waits) == 2, "the next get sets the timer again"


@pytest.mark.parametrize("found", [True, False])
def test_answer_to_an_overdue_get_is_late_and_retires_its_channel(monkeypatch: pytest.MonkeyPatch, found: bool) -> None:
    link = Link(number=1)
    link.get(LANE)
    slow = link.asking(LANE.queue)
    link.wait(monkeypatch)
    slow.answer() if found else slow.empty(None)
    assert link.said == [("overdue", LANE.queue), ("late", LANE.queue, found)]
    assert slow.is_open == found, "it stays open for its delivery"
    link.get(OTHER)
    assert slow.asked != OTHER.queue


def test_channel_of_an_overdue_get_keeps_the_deliveries_of_its_earlier_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link(number=1)
    link.get(LANE)
    slow = link.asking(LANE.queue)
    slow.answer(tag=1)
    link.get(LANE)
    link.wait(monkeypatch)
    slow.answer(tag=2)
    for tag, kept in ((1, True), (2, False)):
        link.deliveries[tag - 1].ack()
        link.getters.close_retired()
        assert slow.is_open == kept


def test_unanswered_names_each_get_at_the_broker_also_an_overdue_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    link = Link(number=2)
    link.get(LANE)
    link.wait(monkeypatch)
    link.get(OTHER)
    link.get(THIRD)
    link.answer_empty(THIRD.queue)
    assert sorted(link.getters.unanswered()) == [(LANE.queue, 1000.0), (OTHER.queue, 1000.0 + PATIENCE)]


# Gets that keep a queue alive


def test_get_that_keeps_alive_gets_only_from_a_queue_without_consumers() -> None:
    link = Link(number=1)
    link.get(LANE, keeps_alive=True)
    assert link.asked() == []
    link.looking(LANE.queue).show(consumers=0)
    assert link.asked() == [LANE.queue] and link.said == []


def test_get_that_keeps_alive_from_a_consumed_queue_frees_its_channel_without_a_get() -> None:
    link = Link(number=1)
    link.get(LANE, keeps_alive=True)
    link.get(OTHER)
    link.looking(LANE.queue).show(consumers=1)
    assert link.said == [("consumed", LANE.queue)]
    assert link.asked() == [OTHER.queue] and len(link.channels) == 1


def test_get_that_keeps_alive_on_a_channel_that_closes_meanwhile_is_not_sent() -> None:
    link = Link(number=1)
    link.get(LANE, keeps_alive=True)
    channel = link.looking(LANE.queue)
    link.close()
    channel.show(consumers=0)
    assert link.asked() == [] and link.said == []


@pytest.mark.parametrize("consumers", [0, 1])
def test_look_that_is_overdue_gets_nothing_later_and_closes_its_channel(
    monkeypatch: pytest.MonkeyPatch, consumers: int
) -> None:
    link = Link(number=1)
    link.get(LANE, keeps_alive=True)
    slow = link.looking(LANE.queue)
    link.wait(monkeypatch)
    slow.show(consumers)
    assert link.said == [("overdue", LANE.queue)] and link.asked() == []
    assert not slow.is_open and link.getters.unanswered() == []


# Channels that end


@pytest.mark.parametrize("once", [False, True])
def test_get_that_is_refused_is_reported_and_its_channel_replaced(once: bool) -> None:
    link = Link(number=1, once=once)
    link.get(LANE)
    link.get(OTHER)
    link.asking(LANE.queue).end()
    link.open()
    assert link.said == [("refused", LANE.queue, 403)]
    assert len(link.channels) == 2 and link.channels[1].asked == OTHER.queue


def test_overdue_get_that_is_refused_is_reported_and_its_channel_not_replaced_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = Link(number=1)
    link.get(LANE)
    slow = link.asking(LANE.queue)
    link.wait(monkeypatch)
    slow.end()
    assert link.said == [("overdue", LANE.queue), ("refused", LANE.queue, 403)]
    assert len(link.channels) == 2


@pytest.mark.parametrize("once, replaced", [(False, True), (True, False)])
def test_channel_that_ends_after_its_delivery_is_replaced_unless_it_was_before(once: bool, replaced: bool) -> None:
    """The broker ends it for a delivery that was not settled in time."""
    link = Link(number=1, once=once)
    link.get(LANE)
    channel = link.asking(LANE.queue)
    channel.answer()
    link.open()
    before = len(link.channels)
    channel.end()
    link.open()
    assert len(link.channels) - before == replaced
    link.get(OTHER)
    link.get(THIRD)
    assert link.channels[-1].asked == OTHER.queue and channel.asked == "", "no get runs on the one that has ended"
    assert link.said == [("answered", LANE.queue, True, 0)]


def test_retired_channel_that_has_ended_is_not_closed_again() -> None:
    link = Link(number=1, once=True)
    link.get(LANE)
    channel = link.asking(LANE.queue)
    channel.answer()
    channel.is_open = False
    link.getters.close_retired()
    assert link.getters._retired == []


def test_channel_that_ends_with_its_connection_reports_nothing() -> None:
    link = Link(number=1)
    link.get(LANE)
    link.channels[0].closed(None, OSError("gone"))
    link.close()
    link.channels[0].end()
    assert link.said == [] and len(link.channels) == 1


def test_delivery_while_the_connection_closes_opens_no_channel() -> None:
    """pika still passes on answers then, and raises for each command."""
    link = Link(number=1, once=True)
    link.get(LANE)
    link.close()
    link.asking(LANE.queue).answer()
    assert link.said == [("answered", LANE.queue, True, 0)] and len(link.channels) == 1


def test_open_forgets_the_gets_over_the_last_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link(number=2, once=True)
    link.get(LANE)
    link.asking(LANE.queue).answer()
    link.open()
    link.get(LANE)
    link.wait(monkeypatch)
    for lane in (LANE, OTHER, THIRD):
        link.get(lane)
    old = len(link.channels)
    for channel in link.channels:
        channel.asked = ""
    link.waits.clear()
    link.getters.open()
    link.open()
    assert len(link.channels) == old + 2
    assert link.asked() == [] and link.getters.unanswered() == [] and link.getters._retired == []
    link.get(OTHER)
    assert link.channels[-1].asked == OTHER.queue or link.channels[-2].asked == OTHER.queue
    assert len(link.waits) == 1, "a timer of the last connection is gone with it"


def test_settled_deliveries_of_a_channel_are_not_remembered() -> None:
    link = Link(number=1)
    for tag in range(1, 4):
        link.get(LANE)
        link.asking(LANE.queue).answer(tag=tag)
        link.deliveries[-1].ack()
    (getter,) = link.getters._idle
    assert all(isinstance(one, Settlement) for one in getter.settlements) and len(getter.settlements) == 1
