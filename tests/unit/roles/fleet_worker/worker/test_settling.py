# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request is acknowledged last: after its answer was confirmed, and not when the confirm is lost."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from fleet_worker._fleet.dialects.headers import REDELIVERED
from fleet_worker._fleet.messages import Message, Properties, Reply
from fleet_worker.domain.delivery import Delivery
from fleet_worker.domain.publication import Done, Publication
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.observe.metrics import Metrics
from fleet_worker.observe.recorder import RequestRecorder
from fleet_worker.worker.settling import ReplySettler

from ..deliveries import Channel, delivery, lane_settings

REPLY = Reply("", "llm.fleet.reply.a", Message(Properties(), {}, b"{}"))
SHORT = Reply("", "llm.fleet.reply.a", Message(Properties(type="error"), {}, b"{}"))
ANSWERED = Result(Verdict.ACK, "answered", REPLY)
USED_UP = Result(Verdict.ACK, "inference_failed", SHORT)
TOO_LARGE = Result(Verdict.ACK, "payload_too_large", SHORT)


class Desk:
    """A settler, and what it did."""

    def __init__(self) -> None:
        self.published: list[tuple[Reply, Done]] = []
        self.settled: list[Delivery] = []
        self.done = 0
        self.unacceptable: list[Delivery] = []
        self.used_up: list[tuple[Delivery, int]] = []
        self.channel = Channel()
        self.recorder = RequestRecorder(Metrics("gpu-01"))
        self.settler = ReplySettler(
            lambda reply, done: self.published.append((reply, done)),
            self.recorder,
            self._too_large,
            self._no_more,
            self.settled.append,
            self._count,
        )

    def _too_large(self, request: Delivery) -> Result:
        self.unacceptable.append(request)
        return TOO_LARGE

    def _no_more(self, request: Delivery, count: int) -> Result:
        self.used_up.append((request, count))
        return USED_UP

    def _count(self) -> None:
        self.done += 1

    def delivery(self, **options: Any) -> Delivery:
        return delivery(channel=self.channel, **options)

    def tell(self, publication: Publication) -> None:
        _reply, done = self.published.pop(0)
        done(publication)

    def counts(self) -> dict[str, int]:
        return self.recorder.counts(Counter()).document()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize("publication", [Publication.CONFIRMED, Publication.RETURNED, Publication.REFUSED])
def test_answer_settles_the_request_when_the_broker_has_said_what_became_of_it(
    desk: Desk, publication: Publication
) -> None:
    one = desk.delivery()
    desk.settler.answer(one, [one], ANSWERED)
    assert desk.channel.settled == [] and desk.done == 0
    desk.tell(publication)
    assert desk.channel.settled == [("ack", 1)] and desk.settled == [one] and desk.done == 1
    assert desk.counts() == {"outcome:answered": 1, f"reply:{publication.value}": 1}


def test_answer_whose_confirm_is_lost_leaves_the_request_unsettled(desk: Desk) -> None:
    desk.settler.answer(desk.delivery(), [desk.delivery()], ANSWERED)
    desk.tell(Publication.LOST)
    assert desk.channel.settled == [] and desk.settled == [] and desk.done == 1
    assert desk.counts() == {"outcome:connection_lost": 1, "reply:lost": 1}


@pytest.mark.parametrize("answer", [ANSWERED, ANSWERED.again()])
def test_answer_that_no_broker_takes_is_followed_by_an_error_and_settled_once(desk: Desk, answer: Result) -> None:
    lost, redelivery = desk.delivery(tag=7), desk.delivery().without_body()
    desk.settler.answer(lost, [redelivery], answer)
    desk.tell(Publication.UNACCEPTABLE)
    assert desk.unacceptable == [lost], "the error needs the body, which a redelivery does not keep"
    assert [reply for reply, _done in desk.published] == [SHORT] and desk.channel.settled == []
    desk.tell(Publication.UNACCEPTABLE)
    assert desk.channel.settled == [("ack", 1)] and desk.done == 1
    assert desk.counts() == {"outcome:payload_too_large": 1, "reply:unacceptable": 2}


def test_answer_to_a_redelivery_is_marked_with_the_largest_count(desk: Desk) -> None:
    first = desk.delivery()
    desk.settler.answer(first, [first, desk.delivery(tag=2, count=3)], ANSWERED)
    ((reply, _done),) = desk.published
    assert reply.message.headers[REDELIVERED] == 3
    desk.tell(Publication.CONFIRMED)
    assert desk.channel.settled == [("ack", 1), ("ack", 2)]


@pytest.mark.parametrize(
    "verdict, settled", [(Verdict.REJECT, ("reject", 1, False)), (Verdict.REQUEUE, ("nack", 1, True))]
)
def test_answer_without_a_reply_settles_at_once(desk: Desk, verdict: Verdict, settled: Any) -> None:
    desk.settler.answer(desk.delivery(), [desk.delivery()], Result(verdict, "word"))
    assert desk.channel.settled == [settled] and desk.published == [] and desk.done == 1


@pytest.mark.parametrize("style", ["model", "shared"])
def test_last_delivery_that_is_given_back_in_flight_is_answered_with_an_error_instead(desk: Desk, style: str) -> None:
    lane = lane_settings(style=style)
    last = lane.lane.delivery_limit
    lost, redelivery = desk.delivery(lane=lane), desk.delivery(lane=lane, tag=2, count=last)
    desk.settler.answer(lost, [redelivery], Result(Verdict.REQUEUE, "given_back"))
    assert desk.used_up == [(lost, last)], "the error needs the body, which a redelivery does not keep"
    assert desk.channel.settled == [] and desk.done == 0
    ((reply, _done),) = desk.published
    assert reply.message.headers[REDELIVERED] == last
    desk.tell(Publication.CONFIRMED)
    assert desk.channel.settled == [("ack", 2)] and desk.done == 1


def test_last_delivery_that_is_given_back_before_its_start_is_answered_with_an_error_instead(desk: Desk) -> None:
    one = desk.delivery(count=lane_settings().lane.delivery_limit)
    desk.settler.give_back(one)
    assert desk.channel.settled == []
    desk.tell(Publication.CONFIRMED)
    assert desk.channel.settled == [("ack", 1)] and desk.settled == [one]


def test_delivery_before_the_last_one_is_given_back(desk: Desk) -> None:
    one = desk.delivery(count=lane_settings().lane.delivery_limit - 1)
    desk.settler.give_back(one)
    assert desk.channel.settled == [("nack", 1, True)] and desk.settled == [one] and desk.published == []


def test_last_delivery_whose_channel_is_gone_is_not_answered(desk: Desk) -> None:
    one = desk.delivery(count=lane_settings().lane.delivery_limit)
    desk.channel.is_open = False
    desk.settler.give_back(one)
    assert desk.published == [] and desk.used_up == []


def test_settle_on_a_channel_that_is_gone_sends_nothing_and_reports_it(desk: Desk) -> None:
    one = desk.delivery()
    desk.channel.is_open = False
    desk.settler.settle(one, Verdict.ACK)
    assert desk.settled == [one] and desk.channel.settled == []
