# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to Ollama from a thread that may wait: for the answer, for the end of a stream, for an Ollama that is down."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable

from .._fleet.messages import Request, Success
from .._ollama.api_errors import CallCancelledError, ConnectionLostError, IncompleteResponseError, OllamaError
from .._ollama.calls import Call
from .._ollama.client import OllamaClient
from .._ollama.streams import GenerationStream
from .answer_check import check_answer
from .availability import OllamaAvailability, UnavailableError
from .carrier import Carrier
from .deltas import DeltaPublisher
from .task import Task
from .tries import RUNNER_PAUSE, Conclusion


class BlockingInference:
    """Makes the calls of requests to one Ollama. For any number of threads."""

    def __init__(self, client: OllamaClient, availability: OllamaAvailability) -> None:
        self._availability = availability
        self._carrier = Carrier(client)
        self._calls: dict[str, Callable[..., dict[str, Any]]] = {
            "chat": client.chat,
            "generate": client.generate,
            "embed": client.embed,
        }
        self._streams: dict[str, Callable[..., GenerationStream]] = {
            "chat": client.chat_stream,
            "generate": client.generate_stream,
        }

    def infer(self, task: Task, request: Request) -> Conclusion:
        """Let Ollama answer a request; publish deltas if the requester wants them."""
        if task.tries.runner_ended:
            time.sleep(RUNNER_PAUSE)
        begun, started = time.monotonic(), time.time()

        def ask() -> dict[str, Any]:
            call = task.stop.begin_call(task.call_seconds)
            if request.carried is not None:
                return self._carrier.run(request.carried, task.model, call, task.deltas.pieces)
            if not task.deltas.wanted:
                return self.answer(request.call, request.arguments, call)
            result = _streamed(self._streams[request.call](call=call, **request.arguments), task.deltas)
            check_answer(request.call, request.arguments, result)
            return result

        try:
            first = task.delivery.count == 0
            result = self._availability.persist(ask, lambda: task.seconds_left, first=first)
            return Success(result, started, time.monotonic() - begun)
        except CallCancelledError:
            return task.stop.verdict
        except UnavailableError as gone:
            if task.stop.stopped:
                return task.stop.verdict
            return self._availability.give_up(gone, task.delivery, started, time.monotonic() - begun)
        except OllamaError as error:
            return self._availability.conclude(error, task, started, time.monotonic() - begun)

    def answer(self, name: str, arguments: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """Make one call of Ollama's API, and return the whole answer.

        :param name: ``chat``, ``generate`` or ``embed``.
        :raises OllamaError: any error of the client, and for an answer that does not fit the request.
        """
        result = self._calls[name](call=call, **arguments)
        check_answer(name, arguments, result)
        return result


def _streamed(stream: GenerationStream, deltas: DeltaPublisher) -> dict[str, Any]:
    """Pass on the pieces of an answer; return the whole answer, as a call without a stream would.

    :raises ConnectionLostError: also for a loss in the middle, as a call without a stream would.
    """
    result: dict[str, Any] = {}
    deltas.start_over()
    try:
        with stream:
            for event in stream:
                if event.type == "done":
                    result = event.data
                else:
                    deltas.add(event)
    except IncompleteResponseError as error:
        if isinstance(error.__cause__, ConnectionLostError):
            raise ConnectionLostError(error.message) from error
        raise
    return result
