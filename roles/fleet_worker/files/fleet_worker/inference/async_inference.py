# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to Ollama from the I/O thread, which never waits: one call, one answer, no stream, no retry.

A thread of the pool makes all other calls (``blocking_inference.py``).
"""

from __future__ import annotations

import time
from functools import partial
from typing import Callable, Optional

from .._fleet.messages import Request, Success
from .._http.errors import HttpError
from .._http.response_parser import ResponseParser
from .._ollama.api_errors import (
    CallCancelledError,
    ConnectionLostError,
    ModelNotFoundError,
    OllamaError,
    ServerUnreachableError,
    UnexpectedAnswerError,
)
from .._ollama.client import Inference, OllamaClient
from .answer_check import check_answer
from .availability import OllamaAvailability
from .carrier import Carrier, needs_thread
from .http_client import HttpClient, HttpResult
from .task import Task
from .tries import Conclusion

#: Returns the conclusion of the work, or ``None`` if a thread must find it. Raises only for a defect of the worker.
Conclude = Callable[[], Optional[Conclusion]]


class AsyncInference:
    """Calls one Ollama from the I/O thread.

    :param http: sends requests to the same Ollama as the client.
    """

    def __init__(self, http: HttpClient, client: OllamaClient, availability: OllamaAvailability) -> None:
        self._http = http
        self._client = client
        self._availability = availability
        self._carrier = Carrier(client)

    def begin(self, task: Task, request: Request, on_answer: Callable[[Conclude], None]) -> bool:
        """Call Ollama, if one call is enough.

        :param on_answer: called on a later turn of the loop.
        :return: whether the call has begun. If not, a thread must make the call.
        """
        if task.tries.runner_ended or needs_thread(request):
            return False  # the request waits before its call, or its answer takes long to read or to send
        try:
            inference = (
                self._client.inference(request.call, request.arguments)
                if request.carried is None
                else self._carrier.inference(request.carried, task.model)
            )
        except OllamaError:
            return False  # the client refuses the request, and a thread reports its error
        if inference is None:
            return False
        conclude = partial(self._conclusion, task, request, inference, time.time(), time.monotonic())
        try:
            pending = self._http.ask(
                inference.request, task.call_seconds, lambda answer: on_answer(partial(conclude, answer))
            )
        except ValueError:
            return False  # the client refuses a configured header, and a thread reports its error
        task.stop.cancel_by(pending.cancel)
        return True

    def _conclusion(
        self, task: Task, request: Request, inference: Inference, started: float, begun: float, answer: HttpResult
    ) -> Optional[Conclusion]:
        """Return the conclusion of a request from Ollama's response; ``None`` if a thread must find it."""
        try:
            if isinstance(answer, OllamaError):
                raise answer
            result = inference.result_of(answer, _body_of(answer))
            if request.carried is None:
                check_answer(request.call, request.arguments, result)
            return Success(result, started, time.monotonic() - begun)
        except CallCancelledError:
            return task.stop.verdict
        except (ServerUnreachableError, ConnectionLostError):
            return None  # a thread waits until Ollama is up
        except ModelNotFoundError:
            return None  # a thread asks Ollama for its models
        except OllamaError as error:
            return self._availability.conclude(error, task, started, time.monotonic() - begun)


def _body_of(answer: ResponseParser) -> bytes:
    try:
        return answer.body()
    except HttpError as error:
        raise UnexpectedAnswerError(f"The answer of Ollama cannot be read: {error}") from error
