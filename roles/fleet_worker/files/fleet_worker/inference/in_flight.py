# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests in flight. The worker works on each once, however often the broker delivers it. For the I/O thread."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Callable, Optional

from .._fleet.messages import Reply
from ..domain.delivery import Delivery, LaneSettings
from ..domain.publication import Done
from ..domain.verdicts import Result
from ..logs.defects import contained
from .cancel_token import CancelToken
from .deltas import DeltaPublisher
from .result_cache import ResultCache
from .task import Task


class InFlightRequest:
    """A request in work, with all of its deliveries: a redelivery joins the running work.

    :param loop: the loop of the I/O thread.
    :param publish: publishes a delta, on the I/O thread.
    :ivar has_slot: whether the request runs; it waits after it has given its slot up.
    """

    def __init__(self, delivery: Delivery, loop: Any, publish: Callable[[Reply, Done], None]) -> None:
        self._loop = loop
        self.deliveries = [delivery]
        self.stop = CancelToken()
        self.deltas = DeltaPublisher(loop, publish, gone=self.stop.abandon)
        self.task = Task(delivery, self.stop, self.deltas)
        self.started = time.monotonic()
        self.has_slot = True
        self._alarm: Any = None

    @property
    def delivery(self) -> Delivery:
        """The first delivery, which has the body of the request."""
        return self.deliveries[0]

    @property
    def lane(self) -> LaneSettings:
        return self.delivery.lane

    @property
    def correlation_id(self) -> Optional[str]:
        return self.delivery.message.properties.correlation_id

    def join(self, delivery: Delivery) -> bool:
        """Add another delivery of the same request; return False for a mere copy.

        An earlier delivery that can still be settled is enough to keep the request from being lost. A kept copy would
        take memory, and a place in the prefetch limit of its channel.

        A redelivery is not a mere copy, even if the channel of the earlier delivery is open: if the leader of a queue
        loses sight of the channel's node, it requeues the channel's deliveries without a message to the channel.
        """
        live = [earlier for earlier in self.deliveries if earlier.is_live]
        if live and not delivery.count:
            return False
        # The later deliveries need no body, because the worker only settles them.
        self.deliveries[1:] = [earlier for earlier in live if earlier is not self.delivery]
        self.deliveries.append(delivery.without_body())
        return True

    def alarm_in(self, seconds: float, overdue: Callable[[], None]) -> None:
        """Call back after some seconds, unless the request ends or silences the alarm before."""
        self.silence_alarm()
        self._alarm = self._loop.call_later(max(0.0, seconds), overdue)

    def silence_alarm(self) -> None:
        """Cancel the alarm, which would keep the request in memory."""
        if self._alarm is not None:
            self._loop.remove_timeout(self._alarm)
            self._alarm = None


class Admission(enum.Enum):
    """The relation of a delivery to the known requests."""

    #: The request is unknown.
    NEW = "new"
    #: The request is in flight, and its answer settles this delivery, too.
    JOINED = "joined"
    #: The request is in flight, and another delivery keeps it from being lost.
    COPY = "copy"
    #: The result cache has the answer.
    CACHED = "cached"


@dataclass(frozen=True)
class Admitted:
    """An admission, with the answer from the cache if it is ``CACHED``."""

    admission: Admission
    result: Optional[Result] = None


_NEW, _JOINED, _COPY = (Admitted(admission) for admission in (Admission.NEW, Admission.JOINED, Admission.COPY))


class InFlightRequests:
    """The requests in flight of one worker, and the answers to earlier requests.

    :param loop: the loop of the I/O thread.
    :param cache: the answers to earlier requests.
    :param publish: publishes a delta.
    """

    def __init__(self, loop: Any, cache: ResultCache, publish: Callable[[Reply, Done], None]) -> None:
        self._loop = loop
        self._cache = cache
        self._publish = publish
        self._requests: list[InFlightRequest] = []
        self._by_identity: dict[str, InFlightRequest] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[InFlightRequest]:
        return iter(tuple(self._requests))

    def __contains__(self, request: object) -> bool:
        return request in self._requests

    def admit(self, delivery: Delivery) -> Admitted:
        """Classify a delivery. A redelivery of a request in flight joins the request."""
        result = self._cache.get(delivery.identity)
        if result is not None:
            return Admitted(Admission.CACHED, result.again())
        request = self._by_identity.get(delivery.identity or "")
        if request is None:
            return _NEW
        return _JOINED if request.join(delivery) else _COPY

    def begin(self, delivery: Delivery) -> InFlightRequest:
        """Put the request of a new delivery in flight."""
        request = InFlightRequest(delivery, self._loop, self._publish)
        self._requests.append(request)
        if delivery.identity is not None:
            self._by_identity[delivery.identity] = request
        return request

    def finish(self, request: InFlightRequest, result: Result) -> Result:
        """Remove a finished request. Return its result with the number of its deltas.

        The cache keeps an answer for redeliveries. A defect of the cache does not harm the request.
        """
        self.remove(request)
        queue = request.lane.queue
        whole = contained(partial(_with_deltas, request, result), lambda _error: result, lane=queue)
        if whole.is_answer and whole.repeatable:
            contained(partial(self._cache.put, request.delivery.identity, whole), lambda _error: None, lane=queue)
        return whole

    def remove(self, request: InFlightRequest) -> None:
        """Remove a request."""
        self._requests.remove(request)
        request.silence_alarm()
        identity = request.delivery.identity
        if identity is not None and self._by_identity.get(identity) is request:
            del self._by_identity[identity]

    def remove_all_of(self, items: Iterable[Any]) -> None:
        """Remove some requests. Ignore other items, such as deliveries."""
        for request in [request for request in self._requests if request in items or request.delivery in items]:
            self.remove(request)

    def abandon(self, correlation_id: str) -> list[InFlightRequest]:
        """End the work on the requests with an id, because their requester is gone; return them, each only once."""
        found = [
            request
            for request in self._requests
            if request.correlation_id == correlation_id and not request.stop.abandoned
        ]
        for request in found:
            request.stop.abandon()
        return found

    def stop_all(self) -> None:
        """End the work on all requests. Their threads return them to the queue."""
        for request in self:
            request.stop.stop()


def _with_deltas(request: InFlightRequest, result: Result) -> Result:
    """Send the remaining deltas; return the result with a reply that has the number of deltas.

    An answer that has lost a piece looks complete, because its reply counts only the sent pieces. So its request is
    requeued instead.
    """
    reply = request.deltas.finish(result.reply)
    if request.deltas.lost and result.is_answer:
        outcome = "requester_gone" if request.stop.abandoned else "given_back"
        return Result(request.stop.verdict, outcome, fields=result.fields)
    if request.deltas.count is None:
        return result
    return replace(result, reply=reply, fields={**result.fields, "deltas": request.deltas.count})
