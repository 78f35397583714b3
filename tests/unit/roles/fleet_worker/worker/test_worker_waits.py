# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that give their slot up, and those that are served as one: each is settled, at its own time."""

from __future__ import annotations

from typing import Any, Callable, Union

import pytest

pytest.importorskip("prometheus_client")

from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.inference.tries import Later
from fleet_worker.scheduling.actions import Start
from fleet_worker.worker.worker import Worker

from ..deliveries import Channel, delivery, lane_settings
from ..turning import turn_until
from .test_worker_guards import LANE, raises, worker

__all__ = ["worker"]

ANSWERED = Result(Verdict.ACK, "answered")


class Answers:
    """What a server says of each try of a request, the last one for ever."""

    def __init__(self, *said: Union[Result, Later]) -> None:
        self.said = list(said)
        self.tasks: list[Any] = []

    def __call__(self, task: Any, *_more: Any) -> Union[Result, Later]:
        self.tasks.append(task)
        return self.said.pop(0) if len(self.said) > 1 else self.said[0]


def deliver(worker: Worker) -> Channel:
    channel = Channel()
    worker.delivered(delivery({"a": 1}, lane=LANE, channel=channel, message_id="m"))
    return channel


@pytest.mark.parametrize("alone", [False, True])
def test_worker_with_a_request_that_gives_its_slot_up_serves_it_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    answers = Answers(Later(0.0, "full", alone=alone), ANSWERED)
    monkeypatch.setattr(worker._flow._runner._handler, "serve", answers, raising=False)
    channel = deliver(worker)
    turn_until(worker._loop, lambda: channel.settled and not worker._requests)
    assert channel.settled == [("ack", 1)]
    assert answers.tasks[0] is answers.tasks[1], "what was tried is known"
    assert worker._waiting_room.reason(LANE.loaded) == ""
    turn_until(worker._loop, lambda: worker._scheduler.running == 0)


def test_worker_with_a_request_that_waits_has_its_slot_free_and_the_lane_closed(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker._flow._runner._handler, "serve", Answers(Later(600.0, "full")), raising=False)
    channel = deliver(worker)
    turn_until(worker._loop, worker._waiting_room.pausing)
    turn_until(worker._loop, lambda: worker._scheduler.running == 0)
    assert "full" in worker._waiting_room.reason(LANE.loaded)
    assert "0 running, 0 held, 1 waiting for a busy Ollama" in worker.status().summary
    assert channel.settled == []
    worker.drain()
    assert channel.settled == [("nack", 1, True)]
    assert not worker._requests


def test_worker_whose_request_needs_a_slot_again_shows_it_as_held_and_not_as_running(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Answers(Later(600.0, "full"), ANSWERED)
    monkeypatch.setattr(worker._flow._runner._handler, "serve", answers, raising=False)
    channel = deliver(worker)
    turn_until(worker._loop, worker._waiting_room.pausing)
    turn_until(worker._loop, lambda: worker._scheduler.running == 0)
    worker.broker_blocked(True)  # the worker starts nothing meanwhile
    (request,) = worker._waiting_room.pausing()
    worker._waiting_room._pause_over(request)
    status = worker.status()
    assert "0 running, 1 held" in status.summary and "waiting" not in status.summary
    assert [lane.running for lane in status.lanes] == [0]
    worker.broker_blocked(False)
    assert "1 running, 0 held" in worker.status().summary
    turn_until(worker._loop, lambda: channel.settled)


@pytest.mark.parametrize("held", [False, True], ids=["in its pause", "after its pause"])
def test_worker_whose_waiting_request_is_cancelled_settles_it_at_once_and_opens_the_lane(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    answers = Answers(Later(600.0, "full"), ANSWERED)
    monkeypatch.setattr(worker._flow._runner._handler, "serve", answers, raising=False)
    channel = deliver(worker)
    turn_until(worker._loop, worker._waiting_room.pausing)
    turn_until(worker._loop, lambda: worker._scheduler.running == 0)
    (request,) = worker._waiting_room.pausing()
    if held:
        worker.broker_blocked(True)
        worker._waiting_room._pause_over(request)
    for _time in range(2):
        worker.request_cancelled("c-1")
    assert channel.settled == [("ack", 1)] and not worker._requests
    assert worker._waiting_room.reason(LANE.loaded) == ""
    counters = worker.status().document()["counters"]
    assert (counters["cancelled"], counters["outcome:requester_gone"]) == (1, 1)
    worker.broker_blocked(False)
    turn_until(worker._loop, lambda: worker._scheduler.held == worker._scheduler.running == 0)
    assert len(answers.tasks) == 1, "Ollama is not asked again"


def test_worker_does_not_let_a_request_wait_that_was_cancelled_meanwhile(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(task: Any, *_more: Any) -> Later:
        task.stop.abandon()
        return Later(600.0, "full")

    monkeypatch.setattr(worker._flow._runner._handler, "serve", serve, raising=False)
    channel = deliver(worker)
    turn_until(worker._loop, lambda: channel.settled)
    assert channel.settled == [("ack", 1)] and not worker._waiting_room.pausing()


def test_worker_that_cannot_let_a_request_wait_gives_it_back(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker._flow._runner._handler, "serve", Answers(Later(600.0, "full")), raising=False)
    monkeypatch.setattr(worker._waiting_room, "admit", raises)
    channel = deliver(worker)
    turn_until(worker._loop, lambda: channel.settled)
    assert channel.settled == [("nack", 1, True)]
    assert not worker._requests


def test_worker_with_requests_served_as_one_answers_each_at_its_own_time(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[Callable[[], None]] = []
    monkeypatch.setattr(worker._flow._runner._pool, "submit", tasks.append)
    expired = Result(Verdict.ACK, "inference_timeout")
    monkeypatch.setattr(worker._flow._runner._handler, "expired", lambda _delivery: expired, raising=False)
    monkeypatch.setattr(worker._flow._runner._handler, "embed_together", lambda *_arguments: {}, raising=False)
    monkeypatch.setattr(worker._flow._runner._handler, "serve", Answers(ANSWERED), raising=False)
    hasty, patient = Channel(), Channel()
    made = [
        delivery({}, lane=lane_settings("embed", deadline=deadline), channel=channel, message_id=str(deadline))
        for channel, deadline in ((hasty, 0.01), (patient, 600.0))
    ]
    worker._flow.start_batch(Start("m", tuple(made)))
    turn_until(worker._loop, lambda: hasty.settled)
    assert (hasty.settled, patient.settled) == ([("ack", 1)], [])
    (task,) = tasks
    task()
    turn_until(worker._loop, lambda: patient.settled)
    assert (hasty.settled, patient.settled) == ([("ack", 1)], [("ack", 1)])
    assert not any("_answer_overdue" in repr(entry[-1].callback) for entry in worker._loop._timers)
