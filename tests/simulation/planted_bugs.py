# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bugs that are put into the daemon on purpose, to see whether the simulation finds them. Three were real ones once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Callable
from unittest import mock

from fleet_worker._fleet.messages import Failure
from fleet_worker.amqp import consumers, getters, publisher
from fleet_worker.amqp.publisher import ConfirmingPublisher
from fleet_worker.domain.verdicts import marked
from fleet_worker.inference.in_flight import InFlightRequest
from fleet_worker.inference.result_writer import ResultWriter
from fleet_worker.scheduling.scheduler import Scheduler
from fleet_worker.worker.settling import ReplySettler

#: Of so many slots that become free, one stays taken; of so many answers, one becomes an error.
LEAK = 50


def _ack_before_confirm() -> AbstractContextManager[Any]:
    """A request is acknowledged when its answer is sent, not when the broker has the answer."""

    def answer(self: Any, _whole: Any, deliveries: Any, result: Any) -> None:
        for delivery in deliveries:
            self.settle(delivery, result.verdict)
        if result.reply is not None:
            reply = marked(result.reply, max(delivery.count for delivery in deliveries))
            self._publish(reply, partial(self._recorder.settled, deliveries[-1], result))
        self._done()

    return mock.patch.object(ReplySettler, "answer", answer)


def _requeue_that_loses_count() -> AbstractContextManager[Any]:
    """A request that comes again counts as one that was never out."""
    return mock.patch.object(consumers, "delivery_count", return_value=0)


def _refusal_taken_for_a_confirm() -> AbstractContextManager[Any]:
    """An answer that the broker has refused counts as one that it has."""
    confirmed = ConfirmingPublisher._on_confirmed

    def trusting(self: Any, frame: Any) -> None:
        method = type("Ack", (), {"delivery_tag": frame.method.delivery_tag, "multiple": frame.method.multiple})()
        confirmed(self, type("Frame", (), {"method": method})())

    return mock.patch.object(ConfirmingPublisher, "_on_confirmed", trusting)


def _redelivery_taken_for_a_copy() -> AbstractContextManager[Any]:
    """A redelivery is acknowledged at once while an earlier delivery looks alive. The daemon did so up to 2026."""

    def join(self: Any, delivery: Any) -> bool:
        if any(earlier.is_live for earlier in self.deliveries):
            return False
        self.deliveries[1:] = [delivery.without_body()]
        return True

    return mock.patch.object(InFlightRequest, "join", join)


def _slot_that_stays_taken() -> AbstractContextManager[Any]:
    """Now and then a slot is not given back."""
    finished = Scheduler.finished
    ended = [0]

    def leaking(self: Any, model: str, now: float) -> Any:
        ended[0] += 1
        return finished(self, model, now) if ended[0] % LEAK else self._next(now)

    return mock.patch.object(Scheduler, "finished", leaking)


def _error_for_an_answer() -> AbstractContextManager[Any]:
    """Now and then a requester gets an error though Ollama has answered."""
    answer = ResultWriter.answer
    answers = [0]

    def failing(self: Any, reading: Any, outcome: Any) -> Any:
        answers[0] += 1
        failure = Failure("ollama_unavailable", "nobody knows why")
        return answer(self, reading, outcome if answers[0] % LEAK else failure)

    return mock.patch.object(ResultWriter, "answer", failing)


def _lane_that_never_starves() -> AbstractContextManager[Any]:
    """A lane has its turn when no lane of the last model has anything to do, however long it has waited."""

    def rank(self: Any, lane: Any, since: float, _now: float) -> Any:
        return (lane.rule.model != self._slots.last_model, since)

    return mock.patch.object(Scheduler, "_rank", rank)


def _list_that_grows() -> AbstractContextManager[Any]:
    """A worker keeps something of every request."""
    finished = Scheduler.finished

    def keeping(self: Any, model: str, now: float) -> Any:
        vars(self).setdefault("_ended", []).append(model)
        return finished(self, model, now)

    return mock.patch.object(Scheduler, "finished", keeping)


def _channel_for_every_get() -> AbstractContextManager[Any]:
    """Each answer to a get leaves a channel open."""
    answered = getters.Getters._answered

    def leaking(self: Any, getter: Any, delivery: Any, more: int) -> None:
        answered(self, getter, delivery, more)
        self._open()

    return mock.patch.object(getters.Getters, "_answered", leaking)


def _confirm_that_is_waited_for() -> AbstractContextManager[Any]:
    """A confirm that does not come is waited for. The daemon did so up to 2026."""
    return mock.patch.object(publisher, "CONFIRM_PATIENCE", math.inf)


@contextmanager
def _silence_that_is_waited_for() -> Iterator[None]:
    """A question that the broker does not answer keeps its slot and its channel. The daemon did so up to 2026."""
    with mock.patch.object(getters, "PATIENCE", math.inf), mock.patch.object(consumers, "PATIENCE", math.inf):
        yield


def _broken_lane_that_is_used_at_once() -> AbstractContextManager[Any]:
    """A lane for which the broker ends the connection is used in the next connection. The daemon did so up to 2026."""
    return mock.patch.object(consumers.Consumers, "connection_lost", return_value=False)


BUGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "ack before confirm": _ack_before_confirm,
    "requeue that loses count": _requeue_that_loses_count,
    "refusal taken for a confirm": _refusal_taken_for_a_confirm,
    "redelivery taken for a copy": _redelivery_taken_for_a_copy,
    "slot that stays taken": _slot_that_stays_taken,
    "error for an answer": _error_for_an_answer,
    "lane that never starves": _lane_that_never_starves,
    "list that grows": _list_that_grows,
    "channel for every get": _channel_for_every_get,
    "confirm that is waited for": _confirm_that_is_waited_for,
    "silence that is waited for": _silence_that_is_waited_for,
    "broken lane that is used at once": _broken_lane_that_is_used_at_once,
}
