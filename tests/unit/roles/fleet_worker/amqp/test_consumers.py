# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lane that may not be read costs no channel that a delivery of another lane depends on."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Optional

import pytest
from fleet_worker._fleet.broker import BrokerSettings
from fleet_worker._fleet.errors import BrokerError
from fleet_worker.amqp.consumers import Consumers
from fleet_worker.domain.delivery import Delivery
from pika.exceptions import (
    ConnectionClosedByBroker,
    NoFreeChannels,
)

from ..deliveries import lane_settings
from .manual_connection import ManualChannel, ManualConnection

GOOD, OTHER, BAD = lane_settings("chat", "good:1"), lane_settings("chat", "other:1"), lane_settings("chat", "bad:1")


class Broker(ManualConnection):
    """A connection whose channels open at once, and an intake on it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[Any, ...]] = []
        self.intake = Consumers(
            self,  # type: ignore[arg-type]
            BrokerSettings(addresses=()),
            delivered=lambda delivery: self.said.append(("delivered", delivery.lane)),
            got=lambda lane, delivery, more: self.said.append(
                ("got", delivery.lane if delivery else lane, delivery is not None, more)
            ),
            cancelled=lambda queue, hot: self.said.append(("cancelled", queue, hot)),
            lane_lost=lambda lane, _reason, pause: self.said.append(("lost", lane, pause)),
            silent=lambda lane, asked: self.said.append(("silent", lane, asked)),
            closed=lambda _error: self.said.append(("closed",)),
        )
        self.intake.open(lambda: None)
        self.open()

    @property
    def consumers(self) -> ManualChannel:
        return self.channels[0]


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_lane_is_consumed_when_the_broker_has_let_us_read_it(broker: Broker) -> None:
    broker.intake.consume(GOOD, 1, hot=False)
    assert broker.consumers.consumed == []
    broker.asking(GOOD.queue).empty(None)
    assert broker.consumers.consumed == [GOOD.queue]
    broker.intake.consume(GOOD, 3, hot=True)
    assert broker.consumers.consumed == [GOOD.queue, GOOD.queue], "it is asked once only"


def test_lane_that_is_tried_and_has_a_request_delivers_it(broker: Broker) -> None:
    broker.intake.consume(GOOD, 1, hot=False)
    broker.asking(GOOD.queue).answer()
    assert broker.said == [("delivered", GOOD)]
    assert broker.consumers.consumed == [GOOD.queue]


def test_lane_that_may_not_be_read_costs_no_channel_with_a_delivery(broker: Broker) -> None:
    for lane in (GOOD, OTHER):
        broker.intake.get(lane)
        broker.asking(lane.queue).answer()
        broker.open()
    with_delivery = [channel for channel in broker.channels if channel.answered]
    for number in range(30):
        broker.said.clear()
        broker.intake.consume(BAD, 1, hot=False)
        assert broker.asking(BAD.queue) not in [broker.consumers, *with_delivery]
        broker.asking(BAD.queue).end()
        broker.open()
        ((word, lane, pause),) = broker.said
        full = min(300.0, 2.0 * 2**number)
        assert (word, lane) == ("lost", BAD) and full / 2 <= pause <= full, "it is tried again after growing pauses"
    assert len(with_delivery) == 2
    assert all(channel.is_open for channel in [broker.consumers, *with_delivery])


def test_lane_that_is_asked_and_may_not_be_read_is_answered_and_lost(broker: Broker) -> None:
    broker.intake.get(BAD)
    broker.asking(BAD.queue).end()
    assert [said[:2] for said in broker.said] == [("lost", BAD), ("got", BAD)]


def test_lane_that_is_refused_to_the_last_get_of_a_sweep_is_not_consumed_unproven(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue was deleted since the last get. The broker would close the channel of all consumers."""
    broker.intake.get(BAD)
    broker.asking(BAD.queue).answer()
    broker.open()
    monkeypatch.setattr(broker.intake, "_got", lambda lane, *_answer: broker.intake.consume(lane, 1, hot=False))
    broker.intake.get(BAD)
    broker.asking(BAD.queue).end()
    assert broker.consumers.consumed == []


def test_lane_that_closes_the_channel_of_the_consumers_is_named(broker: Broker) -> None:
    """Its right was taken away since it was asked."""
    for lane in (GOOD, BAD):
        broker.intake.consume(lane, 1, hot=False)
        broker.asking(lane.queue).empty(None)
    qos, consumed = broker.consumers.steps[:2]
    qos(None)
    consumed(None)
    broker.consumers.end()
    assert [said[:2] for said in broker.said] == [("closed",), ("lost", BAD)]


def test_cancel_before_the_consumer_began_reports_later(broker: Broker) -> None:
    broker.intake.consume(GOOD, 1, hot=False)
    broker.intake.cancel(GOOD.queue, hot=False)
    assert broker.said == []
    broker.consumers.steps.pop()(None)
    assert broker.said == [("cancelled", GOOD.queue, False)]
    broker.asking(GOOD.queue).empty(None)
    assert broker.consumers.consumed == []


def consumed_twice(broker: Broker) -> tuple[str, str]:
    """Give a lane both of its consumers, and return their tags."""
    broker.intake.consume(GOOD, 1, hot=False)
    broker.asking(GOOD.queue).empty(None)
    broker.intake.consume(GOOD, 3, hot=True)
    first, second = broker.intake._consumers
    return first, second


def frame(tag: str) -> Any:
    return type("Frame", (), {"method": type("Method", (), {"consumer_tag": tag})()})()


@pytest.mark.parametrize("order", ["cancel first", "end first"])
def test_cancel_of_a_consumer_that_the_broker_ends_reports_once(broker: Broker, order: str) -> None:
    first, _second = consumed_twice(broker)
    if order == "cancel first":
        broker.intake.cancel(GOOD.queue, hot=False)
        broker.consumers.cancelled_by_broker(frame(first))
        assert [said[:2] for said in broker.said] == [("lost", GOOD)] and broker.consumers.cancelled == [first]
        broker.consumers.cancel_ok(frame(first))
    else:
        broker.consumers.cancelled_by_broker(frame(first))
        broker.intake.cancel(GOOD.queue, hot=False)
        assert [said[:2] for said in broker.said] == [("lost", GOOD)] and broker.consumers.cancelled == []
        broker.consumers.steps.pop()(None)
    assert [said for said in broker.said if said[0] == "cancelled"] == [("cancelled", GOOD.queue, False)]
    assert first not in broker.intake._consumers


def test_cancel_after_restart_reports_each_cancellation(broker: Broker) -> None:
    """The lane was closed and opened again before the broker had confirmed the first cancellation."""
    broker.intake.consume(GOOD, 1, hot=False)
    broker.asking(GOOD.queue).empty(None)
    broker.intake.cancel(GOOD.queue, hot=False)
    broker.intake.consume(GOOD, 1, hot=False)
    first, second = broker.intake._consumers
    broker.intake.cancel(GOOD.queue, hot=False)
    assert broker.consumers.cancelled == [first, second]
    for tag in (first, second):
        broker.consumers.cancel_ok(frame(tag))
    assert broker.said == [("cancelled", GOOD.queue, False)] * 2


def test_delivery_after_a_reload_has_the_new_settings_of_its_lane(broker: Broker) -> None:
    """Whether a consumer that began before brings the request, or a get that was asked before."""
    new = replace(GOOD, deadline=5.0, consumer_priority=7)
    broker.intake.consume(GOOD, 1, hot=False)
    broker.asking(GOOD.queue).empty(None)
    broker.asking(GOOD.queue).asked = ""
    broker.intake.get(GOOD)
    broker.intake.update({new.queue: new})
    broker.consumers.answer()
    broker.asking(GOOD.queue).answer()
    assert [(said[0], said[1]) for said in broker.said] == [("delivered", new), ("got", new)]
    broker.intake.update({})
    broker.consumers.answer()
    assert broker.said[-1] == ("delivered", GOOD), "a removed lane still gets what is on its way"


def test_consumer_that_waits_for_its_first_get_begins_with_the_new_priority(broker: Broker) -> None:
    broker.intake.consume(GOOD, 1, hot=False)
    broker.intake.update({GOOD.queue: replace(GOOD, consumer_priority=7)})
    broker.asking(GOOD.queue).empty(None)
    assert broker.consumers.priorities == [7]


def test_message_that_cannot_be_a_delivery_is_rejected_alone(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_properties: Any, _body: bytes) -> Any:
        raise TypeError("a defect")

    broker.intake.get(GOOD)
    asking: Optional[ManualChannel] = broker.asking(GOOD.queue)
    assert asking is not None
    with monkeypatch.context() as patch:
        patch.setattr("fleet_worker.amqp.consumers.from_pika", raises)
        asking.answer(tag=7, more=3)
    assert asking.settled == [("reject", 7)]
    assert broker.said == [("got", GOOD, False, 3)]
    broker.intake.get(GOOD)
    broker.asking(GOOD.queue).answer()
    assert broker.said[1:] == [("got", GOOD, True, 0)]


@pytest.mark.parametrize("deaths, settled", [(None, "reject"), ([{"count": 1}], "reject"), ("malformed", "ack")])
def test_delivery_without_an_identity_is_settled_like_any_other(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, deaths: Any, settled: str
) -> None:
    """A dead-lettered message with a malformed ``x-death`` can end the queue leader of RabbitMQ 3.10 for good."""

    def raises(_delivery: Delivery) -> Any:
        raise TypeError("a defect")

    broker.intake.get(GOOD)
    asking: Optional[ManualChannel] = broker.asking(GOOD.queue)
    assert asking is not None
    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "identity", property(raises))
        asking.answer(tag=7, headers={} if deaths is None else {"x-death": deaths})
    assert asking.settled == [(settled, 7)]
    assert broker.said == [("got", GOOD, False, 0)]


def test_lane_that_the_broker_does_not_answer_for_keeps_no_channel_from_the_others(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.intake.get(BAD)
    broker.asking(BAD.queue).empty(None)
    broker.asking(BAD.queue).asked = ""
    broker.said.clear()
    for _round in range(6):  # more than there are channels to ask by
        broker.intake.get(BAD)
        broker.wait(monkeypatch)
    assert broker.said == [("silent", BAD, True)] * 6
    broker.intake.get(GOOD)
    broker.asking(GOOD.queue).answer()
    assert broker.said[-1] == ("got", GOOD, True, 0)


def test_lane_that_the_broker_answers_for_late_delivers_what_it_had(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.intake.get(GOOD)
    slow = broker.asking(GOOD.queue)
    broker.wait(monkeypatch)
    slow.answer()
    assert broker.said == [("silent", GOOD, True), ("delivered", GOOD)]


def test_channel_whose_get_is_answered_late_is_closed(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.intake.get(GOOD)
    slow = broker.asking(GOOD.queue)
    broker.wait(monkeypatch)
    slow.empty(None)
    assert not slow.is_open, "a connection has a limited number of channels"


@pytest.mark.parametrize("late", [False, True])
def test_channel_that_is_not_asked_any_more_stays_until_its_requests_are_settled(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """A late one, or the first of a lane. The broker requeues what is not settled when a channel ends."""
    kept: list[Any] = []
    monkeypatch.setattr(broker.intake, "_delivered", kept.append)
    monkeypatch.setattr(broker.intake, "_got", lambda _lane, delivery, _more: kept.append(delivery))
    broker.intake.get(GOOD)
    channel = broker.asking(GOOD.queue)
    if late:
        broker.wait(monkeypatch)
    channel.answer()
    broker.open()
    broker.intake.get(OTHER)
    assert channel.is_open
    kept[0].ack()
    broker.intake.get(OTHER)
    assert not channel.is_open and channel.settled == [("ack", 1)]


def test_get_that_is_overdue_is_reported_also_without_a_channel_to_replace_its_own(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.intake.get(GOOD)

    def no_channel(on_open_callback: Any) -> None:
        raise NoFreeChannels

    monkeypatch.setattr(broker, "channel", no_channel)
    with pytest.raises(NoFreeChannels):
        broker.wait(monkeypatch)
    assert broker.said == [("silent", GOOD, True)]


def test_lane_that_cannot_be_tried_for_its_consumer_is_silent_and_is_consumed_later(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.intake.consume(GOOD, 1, hot=False)
    slow = broker.asking(GOOD.queue)
    broker.wait(monkeypatch)
    assert broker.said == [("silent", GOOD, False)]
    slow.empty(None)
    assert broker.consumers.consumed == [GOOD.queue]


def test_consumer_that_does_not_begin_is_reported_once(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.intake.consume(GOOD, 1, hot=False)
    broker.asking(GOOD.queue).empty(None)
    for _round in range(3):
        broker.wait(monkeypatch)
    assert broker.said == [("silent", GOOD, False)]
    assert broker.consumers.consumed == [GOOD.queue]


def test_connection_that_closes_still_delivers_and_takes_no_command(broker: Broker) -> None:
    """pika passes on the messages that are on their way, and raises for each command."""
    broker.intake.consume(GOOD, 1, hot=False)
    broker.asking(GOOD.queue).empty(None)
    broker.intake.consume(OTHER, 1, hot=False)
    asking = broker.asking(OTHER.queue)
    broker.close()
    broker.intake.consume(GOOD, 3, hot=True)
    broker.intake.cancel(GOOD.queue, hot=False)
    assert broker.consumers.consumed == [GOOD.queue]
    asking.answer()
    assert broker.consumers.consumed == [GOOD.queue] and broker.said == [("delivered", OTHER)]


def test_lane_that_is_kept_alive_is_asked_only_if_nobody_consumes_its_queue(broker: Broker) -> None:
    broker.intake.get(GOOD, keeps_alive=True)
    channel = broker.looking(GOOD.queue)
    channel.show(consumers=1)
    assert channel.asked == "" and broker.said == [("got", GOOD, False, 0)]
    broker.said.clear()
    broker.intake.get(GOOD, keeps_alive=True)
    channel = broker.looking(GOOD.queue)
    channel.show(consumers=0)
    assert channel.asked == GOOD.queue and broker.said == []
    channel.answer()
    assert broker.said == [("got", GOOD, True, 0)]


def test_lane_that_is_only_looked_at_is_not_proven_to_be_readable(broker: Broker) -> None:
    broker.intake.broken.note({GOOD.queue}, "541")
    broker.intake.get(GOOD, keeps_alive=True)
    broker.looking(GOOD.queue).show(consumers=1)
    broker.intake.consume(GOOD, 1, hot=False)
    assert broker.consumers.consumed == [] and resting(broker) == {GOOD.queue}


@pytest.mark.parametrize("consumers", [0, 1])
def test_lane_that_is_looked_at_and_not_answered_for_is_silent_and_not_asked_later(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, consumers: int
) -> None:
    broker.intake.get(GOOD, keeps_alive=True)
    channel = broker.looking(GOOD.queue)
    broker.wait(monkeypatch)
    assert broker.said == [("silent", GOOD, True)]
    channel.show(consumers)
    assert broker.said == [("silent", GOOD, True)] and channel.asked == "" and not channel.is_open


def test_lane_whose_queue_is_gone_when_it_is_looked_at_is_lost(broker: Broker) -> None:
    broker.intake.get(BAD, keeps_alive=True)
    broker.looking(BAD.queue).end()
    assert [said[:2] for said in broker.said] == [("lost", BAD), ("got", BAD)]


def ended(queue: str = "", code: int = 541) -> BrokerError:
    """Return the error of a connection that the broker has ended, for a queue if it names one."""
    named = f" - Cannot get a message from queue '{queue}' in vhost '/': noproc" if queue else ""
    return BrokerError(f"The broker ended the connection: {code} INTERNAL_ERROR{named}", amqp_code=code)


def resting(broker: Broker) -> set[str]:
    """Return the queues of the lanes that rest."""
    return {lane.queue for lane in (GOOD, OTHER, BAD) if broker.intake.broken.rest(lane.queue) is not None}


def test_connection_that_ends_for_a_named_lane_lets_this_lane_rest_alone(broker: Broker) -> None:
    for lane in (GOOD, BAD):
        broker.intake.get(lane)
    assert broker.intake.connection_lost(ended(BAD.queue))
    assert resting(broker) == {BAD.queue}


def test_connection_that_ends_without_a_name_lets_each_lane_without_an_answer_rest(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.intake.get(GOOD)
    broker.asking(GOOD.queue).empty(None)
    broker.intake.get(OTHER)
    broker.wait(monkeypatch)
    broker.intake.get(BAD)
    assert broker.intake.connection_lost(ended())
    assert resting(broker) == {OTHER.queue, BAD.queue}, "also the lane with an overdue get"


def test_connection_that_ends_for_a_consumer_lets_its_lane_rest(broker: Broker) -> None:
    for lane in (BAD, GOOD):
        broker.intake.consume(lane, 1, hot=False)
        broker.asking(lane.queue).empty(None)
    later = time.monotonic() + 1.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: later)
        broker.intake.get(OTHER)
        broker.asking(OTHER.queue).empty(None)
    broker.consumers.closed(None, ConnectionClosedByBroker(541, "INTERNAL_ERROR"))
    assert broker.intake.connection_lost(ended())
    assert resting(broker) == {BAD.queue}, "the broker starts one consumer after the other"


def test_connection_that_ends_for_a_cancelled_consumer_is_explained_and_lets_no_lane_rest(broker: Broker) -> None:
    broker.intake.consume(BAD, 1, hot=False)
    broker.asking(BAD.queue).empty(None)
    for step in list(broker.consumers.steps):
        step(None)
    broker.asking(BAD.queue).asked = ""
    broker.intake.cancel(BAD.queue, hot=False)
    broker.consumers.closed(None, ConnectionClosedByBroker(541, "INTERNAL_ERROR"))
    assert broker.intake.connection_lost(ended())
    assert resting(broker) == set()
    broker.intake.open(lambda: None)
    broker.open()
    assert not broker.intake.connection_lost(ended()), "it is forgotten with the next connection"


@pytest.mark.parametrize("code", [320, 406])
def test_connection_that_ends_without_an_error_of_the_broker_lets_no_lane_rest(broker: Broker, code: int) -> None:
    broker.intake.get(BAD)
    assert not broker.intake.connection_lost(ended(BAD.queue, code))
    assert not broker.intake.connection_lost(BrokerError("gone"))
    assert resting(broker) == set()


def test_connection_that_ends_while_every_lane_was_answered_for_is_not_explained(broker: Broker) -> None:
    broker.intake.get(GOOD)
    broker.asking(GOOD.queue).empty(None)
    assert not broker.intake.connection_lost(ended())
    assert resting(broker) == set()


def test_lane_whose_next_leader_has_answered_does_not_rest_for_a_get_of_its_frozen_leader(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.intake.get(BAD)
    broker.wait(monkeypatch)
    broker.intake.get(BAD)
    later = time.monotonic() + 1.0
    monkeypatch.setattr(time, "monotonic", lambda: later)
    broker.asking(BAD.queue).empty(None)
    assert broker.intake.connection_lost(ended(BAD.queue)), "no answer to a request is the reason"
    assert resting(broker) == set()


def test_lane_that_is_answered_for_is_not_broken_any_more(broker: Broker) -> None:
    broker.intake.broken.note({GOOD.queue}, "541")
    broker.intake.get(GOOD)
    broker.asking(GOOD.queue).empty(None)
    assert resting(broker) == set()
