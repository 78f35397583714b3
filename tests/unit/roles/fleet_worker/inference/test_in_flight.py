# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests in flight: each is worked on once, and keeps of its further deliveries what settles them."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from fleet_worker._fleet.dialects.carried import AnswerPiece
from fleet_worker._fleet.messages import Reply
from fleet_worker.domain.publication import Publication
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.inference.in_flight import Admission, Admitted, InFlightRequest, InFlightRequests
from fleet_worker.inference.result_cache import ResultCache

from ..deliveries import Channel, delivery
from ..manual_loop import ManualLoop
from .stream_wire import ANSWER


def job(channel: Channel) -> InFlightRequest:
    return InFlightRequest(delivery({"a": 1}, channel=channel, message_id="m-1"), None, lambda *_arguments: None)


def again(channel: Channel, tag: int, count: int = 1) -> Any:
    return delivery({"a": 1}, channel=channel, message_id="m-1", tag=tag, count=count)


def failing(_piece: AnswerPiece) -> Optional[Reply]:
    raise ValueError("a defect")


@pytest.mark.parametrize(
    "write, publication, gone, ended",
    [
        (None, Publication.CONFIRMED, False, (Verdict.ACK, "answered")),
        (None, Publication.LOST, False, (Verdict.REQUEUE, "given_back")),
        (failing, Publication.CONFIRMED, False, (Verdict.REQUEUE, "given_back")),
        (None, Publication.RETURNED, True, (Verdict.ACK, "requester_gone")),
    ],
)
def test_finish_after_the_loss_of_a_piece_sends_no_answer(
    write: Any, publication: Publication, gone: bool, ended: tuple[Verdict, str]
) -> None:
    loop, published = ManualLoop(), []
    requests = InFlightRequests(loop, ResultCache(), lambda reply, done: published.append(done))
    request = requests.begin(delivery({"a": 1}, message_id="m-1"))
    request.deltas.carry(write or (lambda _piece: ANSWER))
    request.deltas.pieces.add(b"one", 200, "text/event-stream", lambda: None)
    loop.turn(0)
    if published:
        request.deltas.pieces.add(b"two", 200, "text/event-stream", lambda: None)  # waits
    for done in published:
        done(publication)
    result = requests.finish(request, Result(Verdict.ACK, "answered", ANSWER, repeatable=False))
    assert (result.verdict, result.outcome) == ended
    assert (result.reply is not None) is (result.outcome == "answered")
    assert request.stop.abandoned is gone


def test_join_of_copies_keeps_none_of_them() -> None:
    channel = Channel()
    under_way = job(channel)
    assert [under_way.join(again(channel, tag, count=0)) for tag in range(2, 252)] == [False] * 250
    assert len(under_way.deliveries) == 1


def test_join_of_a_redelivery_keeps_it_beside_one_that_the_broker_may_have_taken_back() -> None:
    channel = Channel()
    under_way = job(channel)
    assert under_way.join(again(channel, 2))
    assert all(kept.ack() for kept in under_way.deliveries)
    assert channel.settled == [("ack", 1), ("ack", 2)]


def test_join_after_a_lost_channel_keeps_the_new_delivery_without_its_body() -> None:
    lost, channel = Channel(), Channel()
    under_way = job(lost)
    body = under_way.deliveries[0].message.body
    lost.is_open = False
    assert under_way.join(again(channel, 2)) and not under_way.join(again(channel, 3, count=0))
    first, second = under_way.deliveries
    assert (first.message.body, second.message.body) == (body, b"")
    assert second.ack() and channel.settled == [("ack", 2)]


def test_join_after_many_lost_channels_keeps_the_newest_alone() -> None:
    channel = Channel()
    under_way = job(channel)
    for tag in range(2, 50):
        channel.is_open = False
        channel = Channel()
        assert under_way.join(again(channel, tag))
    assert [kept.is_live for kept in under_way.deliveries] == [False, True]
    assert under_way.deliveries[1].ack() and channel.settled == [("ack", 49)]


ANSWERED = Result(Verdict.ACK, "answered")
OVER = Result(Verdict.ACK, "inference_failed")


class Flight:
    """The requests in flight, over a loop that is turned by hand."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.requests = InFlightRequests(self.loop, ResultCache(), lambda *_delta: None)
        self.channel = Channel()

    def delivery(self, tag: int = 1, **options: Any) -> Any:
        return delivery({"a": 1}, channel=self.channel, tag=tag, **{"message_id": "m-1", **options})


@pytest.fixture
def flight() -> Flight:
    return Flight()


def test_admit_of_an_unknown_request_is_new_until_it_begins(flight: Flight) -> None:
    assert flight.requests.admit(flight.delivery()) == Admitted(Admission.NEW)
    assert flight.requests.admit(flight.delivery(2)) == Admitted(Admission.NEW)
    request = flight.requests.begin(flight.delivery())
    assert list(flight.requests) == [request] and request in flight.requests and len(flight.requests) == 1


def test_admit_of_a_request_in_flight_is_a_copy_while_a_delivery_is_live_and_joins_later(flight: Flight) -> None:
    request = flight.requests.begin(flight.delivery())
    assert flight.requests.admit(flight.delivery(2)).admission is Admission.COPY
    flight.channel.is_open = False
    flight.channel = Channel()
    assert flight.requests.admit(flight.delivery(3)).admission is Admission.JOINED
    assert [each.is_live for each in request.deliveries] == [False, True]


@pytest.mark.parametrize(
    "result, admission",
    [
        (ANSWERED, Admission.CACHED),
        (Result(Verdict.ACK, "answered", repeatable=False), Admission.NEW),
        (OVER, Admission.NEW),
    ],
)
def test_finish_keeps_a_repeatable_answer_for_redeliveries(
    flight: Flight, result: Result, admission: Admission
) -> None:
    finished = flight.requests.finish(flight.requests.begin(flight.delivery()), result)
    assert (finished.outcome, finished.fields) == (result.outcome, {})
    assert not flight.requests
    admitted = flight.requests.admit(flight.delivery(2))
    assert admitted.admission is admission
    assert (admitted.result is None) == (admission is Admission.NEW)


def test_admit_without_an_identity_is_new_each_time(flight: Flight) -> None:
    nameless = {"message_id": None, "correlation_id": None}
    flight.requests.finish(flight.requests.begin(flight.delivery(**nameless)), ANSWERED)
    assert flight.requests.admit(flight.delivery(2, **nameless)).admission is Admission.NEW


def test_finish_takes_the_alarm_back(flight: Flight) -> None:
    request = flight.requests.begin(flight.delivery())
    request.alarm_in(5.0, lambda: pytest.fail("it is over"))
    flight.requests.finish(request, OVER)
    assert flight.loop.later == []


def test_alarm_of_a_deadline_that_has_passed_rings_at_once(flight: Flight) -> None:
    rung: list[int] = []
    flight.requests.begin(flight.delivery()).alarm_in(-5.0, lambda: rung.append(1))
    flight.loop.turn()
    assert rung == [1]


def test_remove_all_of_passes_over_what_is_not_in_flight(flight: Flight) -> None:
    first, second = (flight.delivery(tag, message_id=f"m-{tag}") for tag in (1, 2))
    kept = flight.requests.begin(flight.delivery(3, message_id="m-3"))
    flight.requests.begin(first)
    flight.requests.remove_all_of([first, second])
    assert list(flight.requests) == [kept]
    assert flight.requests.admit(flight.delivery(4)).admission is Admission.NEW


def test_abandon_ends_the_requests_of_that_id_for_good(flight: Flight) -> None:
    ended, other = (flight.requests.begin(flight.delivery(message_id=each, correlation_id=each)) for each in "ab")
    assert len(flight.requests.abandon("a")) == 1 and flight.requests.abandon("c") == []
    assert flight.requests.abandon("a") == [], "a second cancellation finds nothing"
    assert ended.stop.abandoned and not other.stop.stopped


def test_stop_all_ends_the_work_and_another_node_may_do_it(flight: Flight) -> None:
    request = flight.requests.begin(flight.delivery())
    flight.requests.stop_all()
    assert request.stop.stopped and not request.stop.abandoned
