# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of requests that are known, cancelled, or must not start."""

from __future__ import annotations

from typing import Any

import pytest
from fleet_worker._fleet.messages import Message, Properties, Reply
from fleet_worker.domain.publication import Publication
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.scheduling.actions import Start
from fleet_worker.worker.worker import Worker

from ..deliveries import Channel, delivery
from ..turning import turn_until
from .test_worker_guards import LANE, worker

__all__ = ["worker"]

REPLY = Reply("", "llm.fleet.reply.a", Message(Properties(), {}, b"{}"))


def request(channel: Channel, tag: int = 1, **options: Any) -> Any:
    return delivery({"a": 1}, lane=LANE, channel=channel, tag=tag, **{"message_id": "m", **options})


def counters(worker: Worker) -> dict[str, int]:
    counted: dict[str, int] = worker.status().document()["counters"]
    return counted


def idle(worker: Worker) -> bool:
    return not worker._requests and worker._scheduler.running == 0


def test_request_that_was_cancelled_in_its_lane_is_settled_and_not_started(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker._session, "is_cancelled", lambda _delivery: True)
    channel = Channel()
    worker.delivered(request(channel))
    assert channel.settled == [("ack", 1)]
    assert counters(worker) == {"deliveries": 1, "redeliveries": 0, "outcome:requester_gone": 1}


def test_request_that_was_answered_gets_the_same_answer_without_a_slot(worker: Worker) -> None:
    channel = Channel()
    worker.delivered(request(channel))
    turn_until(worker._loop, lambda: idle(worker))
    worker.got(LANE, request(channel, 2, count=1), 0)
    assert channel.settled == [("ack", 1), ("ack", 2)]
    counted = counters(worker)
    assert (counted["answered_again"], counted["outcome:answered"], counted["outcome:answered_again"]) == (1, 1, 1)
    assert idle(worker)


def test_request_in_flight_that_is_cancelled_ends_its_work_for_good(worker: Worker) -> None:
    running = worker._requests.begin(request(Channel(), correlation_id="c-9"))
    worker.request_cancelled("other")
    assert not running.stop.stopped
    worker.request_cancelled("c-9")
    assert running.stop.abandoned and counters(worker) == {"cancelled": 1}


def test_copy_of_a_request_in_flight_is_settled_at_once(worker: Worker) -> None:
    channel = Channel()
    worker._requests.begin(request(channel))
    worker.delivered(request(channel, 2))
    assert channel.settled == [("ack", 2)] and counters(worker)["joined"] == 1


def test_start_of_a_delivery_whose_channel_is_gone_frees_the_slot(worker: Worker) -> None:
    channel = Channel()
    channel.is_open = False
    freed: list[str] = []
    worker._dispatcher.finished = freed.append  # type: ignore[method-assign]
    worker._flow.start_batch(Start("m", (request(channel),)))
    turn_until(worker._loop, lambda: freed)
    assert freed == ["m"] and channel.settled == [] and not worker._requests


def unsettled(worker: Worker) -> dict[str, Any]:
    return worker._scheduler._lanes.unsettled


def test_request_whose_channel_is_gone_counts_no_more_at_its_end(worker: Worker) -> None:
    """Otherwise the worker would ask its lane ten times a second until the next connection."""
    channel = Channel()
    worker.delivered(request(channel))
    assert set(unsettled(worker)) == {LANE.queue}
    channel.is_open = False
    turn_until(worker._loop, lambda: idle(worker))
    assert unsettled(worker) == {} and channel.settled == []


def test_delivery_whose_channel_is_gone_before_its_start_counts_no_more(worker: Worker) -> None:
    channel = Channel()
    worker._dispatcher.taken(held := request(channel))
    channel.is_open = False
    worker._flow.start_batch(Start("m", (held,)))
    assert unsettled(worker) == {}


@pytest.mark.parametrize("part, name", [("_requests", "remove_all_of"), ("_settler", "conclude")])
def test_start_that_fails_even_at_the_rejection_frees_the_slot(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, part: str, name: str
) -> None:
    def raises(*_arguments: Any) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(worker._requests, "begin", raises)
    monkeypatch.setattr(getattr(worker._flow, part), name, raises)
    worker.delivered(request(Channel()))
    assert worker._scheduler.running == 1
    turn_until(worker._loop, lambda: worker._scheduler.running == 0)


def test_request_that_is_given_back_before_it_began_returns_to_its_queue(worker: Worker) -> None:
    channel = Channel()
    worker._flow.give_back(request(channel))
    assert channel.settled == [("nack", 1, True)] and counters(worker) == {}


def test_request_that_is_given_back_in_flight_returns_and_is_logged(worker: Worker) -> None:
    channel = Channel()
    worker._flow.give_back(worker._requests.begin(request(channel)))
    assert channel.settled == [("nack", 1, True)] and counters(worker) == {"outcome:given_back": 1}


def test_result_of_a_request_that_is_over_already_settles_nothing(worker: Worker) -> None:
    channel = Channel()
    over = worker._requests.begin(request(channel))
    worker._flow.finish_request(over, Result(Verdict.ACK, "inference_timeout"))
    worker._flow.finish_request(over, Result(Verdict.REJECT, "answered"))
    assert channel.settled == [("ack", 1)]


def test_answer_that_no_broker_takes_becomes_an_error_from_the_delivery_with_the_body(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The channel of the first delivery is lost, and the redelivery has joined the work, without its body."""
    told = [Publication.UNACCEPTABLE, Publication.CONFIRMED]
    monkeypatch.setattr(worker._session.publisher, "publish", lambda _reply, done: done(told.pop(0)))
    read: list[bytes] = []

    def unacceptable(delivery: Any) -> Result:
        read.append(delivery.message.body)
        return Result(Verdict.ACK, "payload_too_large", REPLY)

    monkeypatch.setattr(worker._flow._settler, "_unacceptable", unacceptable)
    lost, channel = Channel(), Channel()
    running = worker._requests.begin(request(lost))
    lost.is_open = False
    worker.delivered(request(channel, 2, count=1))
    worker._flow.finish_request(running, Result(Verdict.ACK, "answered", REPLY))
    assert read == [running.delivery.message.body] != [b""]
    assert channel.settled == [("ack", 2)] and told == []
