# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests in flight: each is worked on once, however often the broker delivers it. For the I/O thread."""

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
    """A request that is being worked on, with each of its deliveries: a redelivery joins the work under way.

    :param loop: of the I/O thread.
    :param publish: publishes a delta; on the I/O thread.
    """

    def __init__(self, delivery: Delivery, loop: Any, publish: Callable[[Reply, Done], None]) -> None:
        self._loop = loop
        self.deliveries = [delivery]
        self.stop = CancelToken()
        self.deltas = DeltaPublisher(loop, publish, gone=self.stop.abandon)
        self.task = Task(delivery, self.stop, self.deltas)
        self.started = time.monotonic()
        self._alarm: Any = None

    @property
    def delivery(self) -> Delivery:
        """The first delivery, which has the body that is worked on."""
        return self.deliveries[0]

    @property
    def lane(self) -> LaneSettings:
        return self.delivery.lane

    @property
    def correlation_id(self) -> Optional[str]:
        return self.delivery.message.properties.correlation_id

    def join(self, delivery: Delivery) -> bool:
        """Take another delivery of the same request; return False when it is a mere copy.

        As long as an earlier delivery can still be settled, it alone keeps the request from being lost. A copy that
        were kept beside it would take memory, and a place among those that the broker sends before it waits.

        A redelivery is not a mere copy, even if the channel of the earlier delivery is open: a queue whose leader loses
        sight of the node that a channel is on takes the channel's deliveries back, and the channel is never told.
        """
        live = [earlier for earlier in self.deliveries if earlier.is_live]
        if live and not delivery.count:
            return False
        # The others are only settled.
        self.deliveries[1:] = [earlier for earlier in live if earlier is not self.delivery]
        self.deliveries.append(delivery.without_body())
        return True

    def alarm_in(self, seconds: float, overdue: Callable[[], None]) -> None:
        """Call back after so many seconds, unless the request is over or takes the alarm back before."""
        self.silence_alarm()
        self._alarm = self._loop.call_later(max(0.0, seconds), overdue)

    def silence_alarm(self) -> None:
        """Take the alarm back, which would keep the request in memory until then."""
        if self._alarm is not None:
            self._loop.remove_timeout(self._alarm)
            self._alarm = None


class Admission(enum.Enum):
    """What a delivery is, by what is known of its request."""

    #: Nothing is known of the request.
    NEW = "new"
    #: The request is in flight, and its answer will settle this delivery, too.
    JOINED = "joined"
    #: The request is in flight, and another delivery keeps it from being lost.
    COPY = "copy"
    #: The request was answered before.
    CACHED = "cached"


@dataclass(frozen=True)
class Admitted:
    """An admission, with the answer that the request got before if it is ``CACHED``."""

    admission: Admission
    result: Optional[Result] = None


_NEW, _JOINED, _COPY = (Admitted(admission) for admission in (Admission.NEW, Admission.JOINED, Admission.COPY))


class InFlightRequests:
    """The requests in flight of one worker, and the answers to those before them.

    :param loop: of the I/O thread.
    :param cache: answers that were made.
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
        """Find out what a delivery is; a redelivery of a request in flight joins it."""
        result = self._cache.get(delivery.identity)
        if result is not None:
            return Admitted(Admission.CACHED, result)
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
        """A request is over: it is in flight no more. Return its result, with what is sent of it at the end.

        The result is kept for redeliveries if it is an answer. A defect in that costs the request nothing.
        """
        self.remove(request)
        queue = request.lane.queue
        whole = contained(partial(_with_deltas, request, result), lambda _error: result, lane=queue)
        if whole.outcome == "answered" and whole.repeatable:
            contained(partial(self._cache.put, request.delivery.identity, whole), lambda _error: None, lane=queue)
        return whole

    def remove(self, request: InFlightRequest) -> None:
        """A request is in flight no more."""
        self._requests.remove(request)
        request.silence_alarm()
        identity = request.delivery.identity
        if identity is not None and self._by_identity.get(identity) is request:
            del self._by_identity[identity]

    def remove_all_of(self, items: Iterable[Any]) -> None:
        """These requests are in flight no more; what is not in flight, such as a delivery, is passed over."""
        for request in [request for request in self._requests if request in items or request.delivery in items]:
            self.remove(request)

    def abandon(self, correlation_id: str) -> int:
        """End the work on the requests of an id, since nobody waits for their answers; return how many they are."""
        found = [request for request in self._requests if request.correlation_id == correlation_id]
        for request in found:
            request.stop.abandon()
        return len(found)

    def stop_all(self) -> None:
        """End the work on all requests; their threads give them back."""
        for request in self:
            request.stop.stop()


def _with_deltas(request: InFlightRequest, result: Result) -> Result:
    """Send the deltas that are left; return the result with a reply that says how many they were."""
    reply = request.deltas.finish(result.reply)
    if request.deltas.count is None:
        return result
    return replace(result, reply=reply, fields={**result.fields, "deltas": request.deltas.count})
