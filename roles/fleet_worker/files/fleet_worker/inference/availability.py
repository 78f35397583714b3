# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decision about a request that Ollama has not answered: wait, try again, requeue for another node, or fail.

A request waits for an Ollama that is down, within limits. If Ollama is busy, or the runner has ended, the request gives
its slot up and is tried again later. After that the request returns to the queue once, for another node. If that node
cannot answer either, the requester gets an error. A request for a model that Ollama has lost returns at once.
"""

from __future__ import annotations

import time
from typing import Callable, TypeVar

from .._fleet.messages import Failure
from .._ollama.api_errors import (
    ConnectionLostError,
    ModelNotFoundError,
    OllamaError,
    ServerBusyError,
    ServerUnreachableError,
    UnsupportedByServerError,
)
from ..domain.delivery import Delivery
from ..domain.lane_rule import ALONE
from ..domain.verdicts import Verdict
from .carrier import in_ollamas_words
from .fault_table import Fault, ModelFailure, failure_of, fault_of
from .health import Health
from .task import ParsedRequest, Task
from .tries import LOST_TRIES, Conclusion

T = TypeVar("T")

#: The least seconds that another node needs for a returned request.
RETURN_RESERVE = 1.0


class UnavailableError(Exception):
    """Ollama did not answer within the time that a request may wait.

    :ivar error: the error of the last call.
    :ivar breaks: whether the connection broke so often that the request itself may be the reason.
    """

    def __init__(self, error: OllamaError, *, breaks: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.breaks = breaks


class OllamaAvailability:
    """Decides what follows an error of one Ollama. For any number of threads.

    :param health: watches this Ollama.
    :param patience: the most seconds that a request waits for an Ollama that is down or busy.
    """

    def __init__(self, health: Health, patience: float) -> None:
        self._health = health
        self._patience = patience

    def persist(self, ask: Callable[[], T], seconds_left: Callable[[], float], *, first: bool = False) -> T:
        """Call Ollama; while Ollama is down, wait and call again. All requests of this worker wait for Ollama here.

        :param ask: makes the call.
        :param seconds_left: returns the seconds until the deadline of the answer.
        :param first: whether another node may get the request afterwards.
        :return: what ``ask`` returns.
        :raises UnavailableError: if Ollama did not come up in time, or the connection broke too often.
        :raises OllamaError: any other error of ``ask``.
        """
        begun, lost = time.monotonic(), 0
        patience = self._patience_with(seconds_left(), first=first)
        while True:
            try:
                return ask()
            except (ServerUnreachableError, ConnectionLostError) as error:
                lost += isinstance(error, ConnectionLostError)
                breaks = lost > LOST_TRIES
                if not self._wait(error, begun + patience, 0.0 if breaks else seconds_left()):
                    raise UnavailableError(error, breaks=breaks) from error

    def give_up(self, gone: UnavailableError, delivery: Delivery, started: float, seconds: float) -> Conclusion:
        """Return the result of a request for which Ollama did not become available.

        :param started: the time of the first call, in seconds since 1970.
        :param seconds: the duration of calls and waits.
        """
        if not gone.breaks and self._may_return(delivery):
            return Verdict.REQUEUE
        return Failure("ollama_unavailable", gone.error.message, started, seconds)

    def conclude(self, error: OllamaError, task: Task, started: float, seconds: float) -> Conclusion:
        """Return the result of a request that Ollama answered with an error. May wait if Ollama lacks the model.

        :param started: the time of the call, in seconds since 1970.
        :param seconds: the duration of the call.
        """
        return in_ollamas_words(self._conclusion(error, task, started, seconds), error)

    def _conclusion(self, error: OllamaError, task: Task, started: float, seconds: float) -> Conclusion:
        if isinstance(error, ServerBusyError):
            patience = self._patience_with(task.seconds_left, first=task.delivery.count == 0)
            again = task.tries.busy(error.message, patience, task.seconds_left)
            if again is not None:
                return again
            if self._may_return(task.delivery):
                return Verdict.REQUEUE
            return Failure("ollama_unavailable", error.message, started, seconds)
        if isinstance(error, ModelNotFoundError):
            # Without the model, the lane is paused now. Otherwise this node would fail the whole queue of the lane.
            lost = not self._health.still_has(task.delivery.lane.model_key)
            if lost and self._may_return(task.delivery):
                return Verdict.REQUEUE
        if isinstance(error, UnsupportedByServerError) and _counts_tokens(task):
            # An older Ollama would truncate a long text, and count only the rest.
            message = f"the operation count_tokens is not served by this node: {error.message}"
            return Failure("unsupported_operation", message, started, seconds)
        if fault_of(error) is Fault.RUNNER:
            again = task.tries.runner_end(error.message, task.seconds_left)
            if again is not None:
                return again
            message = f"the process that runs the model ended each time that it served this request: {error.message}"
            # After ALONE seconds the request was not alone, so another request may have ended the runner.
            return ModelFailure("inference_failed", message, started, seconds, final=seconds < ALONE)
        return failure_of(error, started, seconds)

    def _patience_with(self, seconds_left: float, *, first: bool) -> float:
        """Return the most seconds of the wait for an Ollama that is down or busy.

        :param first: whether another node may get the request afterwards, and needs half of the time.
        """
        return min(self._patience, seconds_left / 2) if first else self._patience

    def _wait(self, error: OllamaError, until: float, seconds: float) -> bool:
        """Wait until Ollama is up; return whether Ollama is up.

        :param until: the end of the patience, on the monotonic clock.
        :param seconds: the most seconds of the wait.
        """
        self._health.suspect(error)
        seconds = min(seconds, until - time.monotonic())
        return seconds > 0 and self._health.wait(seconds)

    def _may_return(self, delivery: Delivery) -> bool:
        """Return whether another node gets a request that this Ollama does not answer.

        Only once: if the next node cannot answer either, it sends the error to the requester.
        """
        return delivery.count == 0 and delivery.seconds_left() > RETURN_RESERVE


def _counts_tokens(task: Task) -> bool:
    return isinstance(task.reading, ParsedRequest) and task.reading.request.request_type == "count_tokens"
