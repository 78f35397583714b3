# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a request is worked on: on the I/O thread, in a thread of the pool, or together with others.

A single plain request is sent to Ollama from the I/O thread. What may wait, or needs more than one question, goes to a
thread of the pool. Requests that were started as one go to one thread: those for embeddings become one call, and
whatever of them cannot is worked on one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Callable, Union

from ..domain.verdicts import Result
from ..runtime.thread_pool import ThreadPool
from .handler import RequestHandler
from .in_flight import InFlightRequest
from .task import Task
from .tries import Conclusion, Later

#: Called on the I/O thread with a request and what became of it. May be called twice with one that was overdue.
Ended = Callable[[InFlightRequest, Union[Result, Later]], None]


class RequestRunner:
    """Has requests worked on.

    :param loop: of the I/O thread.
    :param batch_bytes: of the texts that go to Ollama as one array, at most.
    """

    def __init__(self, loop: Any, pool: ThreadPool, handler: RequestHandler, batch_bytes: int) -> None:
        self._loop = loop
        self._pool = pool
        self._handler = handler
        self._batch_bytes = batch_bytes

    def run(self, requests: Sequence[InFlightRequest], ended: Ended, free: Callable[[], None]) -> None:
        """Have requests worked on that were started as one. Of none, only the slot becomes free.

        :param ended: called with each of them.
        :param free: called once, on a later turn of the loop, when the slot that they take together is free.
        """
        if not requests:
            self._loop.add_callback_threadsafe(free)
            return
        if len(requests) > 1:
            self._watch_deadlines(requests, ended)
        elif self._begin_on_loop(requests[0], ended, free):
            return
        self._pool.submit(partial(self._run_in_pool, requests, ended, free))

    def _begin_on_loop(self, request: InFlightRequest, ended: Ended, free: Callable[[], None]) -> bool:
        def concluded(result: Union[Result, Later, None]) -> None:
            if result is None:  # it needs a thread after all
                self._pool.submit(partial(self._run_in_pool, [request], ended, free))
                return
            try:
                ended(request, result)
            finally:
                free()

        return self._handler.begin(request.task, concluded)

    def _watch_deadlines(self, requests: Sequence[InFlightRequest], ended: Ended) -> None:
        """Have each request answered at its own time, since the call that they share has the longest of all."""
        for request in requests:
            request.alarm_in(request.delivery.seconds_left(), partial(self._answer_overdue, request, ended))

    def _answer_overdue(self, request: InFlightRequest, ended: Ended) -> None:
        ended(request, self._handler.expired(request.delivery))

    def _run_in_pool(self, requests: Sequence[InFlightRequest], ended: Ended, free: Callable[[], None]) -> None:
        """Work on requests; in a thread of the pool."""
        try:
            known: dict[Task, Conclusion] = {}
            if len(requests) > 1:
                known = self._handler.embed_together([request.task for request in requests], self._batch_bytes)
            for request in requests:
                result = self._handler.serve(request.task, known.get(request.task))
                self._loop.add_callback_threadsafe(partial(ended, request, result))
        finally:
            self._loop.add_callback_threadsafe(free)
