# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The place of the work on a request: the I/O thread, a thread of the pool, or a shared call.

The I/O thread sends a single plain request to Ollama. A thread of the pool takes requests that may wait or need more
than one call. It also takes all requests of a batch: embedding requests share one call, and the others follow one after
the other.
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

#: Called on the I/O thread with a request and its outcome. May be called twice with an overdue request.
Ended = Callable[[InFlightRequest, Union[Result, Later]], None]


class RequestRunner:
    """Runs the work on requests.

    :param loop: the loop of the I/O thread.
    :param batch_bytes: the most bytes of the texts of one shared call.
    """

    def __init__(self, loop: Any, pool: ThreadPool, handler: RequestHandler, batch_bytes: int) -> None:
        self._loop = loop
        self._pool = pool
        self._handler = handler
        self._batch_bytes = batch_bytes

    def run(self, requests: Sequence[InFlightRequest], ended: Ended, free: Callable[[], None]) -> None:
        """Run the work on a batch of requests. An empty batch only frees the slot.

        :param ended: called with each request.
        :param free: called once, on a later turn of the loop, when the slot of the batch is free.
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
            if result is None:  # a thread must handle the request
                self._pool.submit(partial(self._run_in_pool, [request], ended, free))
                return
            try:
                ended(request, result)
            finally:
                free()

        return self._handler.begin(request.task, concluded)

    def _watch_deadlines(self, requests: Sequence[InFlightRequest], ended: Ended) -> None:
        """Answer each request by its own deadline, because the shared call has the longest time limit of all."""
        for request in requests:
            request.alarm_in(request.delivery.seconds_left(), partial(self._answer_overdue, request, ended))

    def _answer_overdue(self, request: InFlightRequest, ended: Ended) -> None:
        ended(request, self._handler.expired(request.delivery))
        request.stop.stop()  # nobody waits for this request any more, and perhaps for the whole call

    def _run_in_pool(self, requests: Sequence[InFlightRequest], ended: Ended, free: Callable[[], None]) -> None:
        """Work on requests, in a thread of the pool."""
        try:
            known: dict[Task, Conclusion] = {}
            if len(requests) > 1:
                known = self._handler.embed_together([request.task for request in requests], self._batch_bytes)
            for request in requests:
                result = self._handler.serve(request.task, known.get(request.task))
                self._loop.add_callback_threadsafe(partial(ended, request, result))
        finally:
            self._loop.add_callback_threadsafe(free)
