# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a request through the fair queue to a node, and the way of the answer back by its correlation id."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Callable, Optional, TypeVar

from .._fleet.dialects.carried import request_message, understand
from .._fleet.errors import UnreadableAnswerError
from .._fleet.messages import Message
from ..amqp.request_publisher import FULL, LOST, UNROUTABLE, OnRefused
from ..amqp.session import BrokerSession
from ..domain.errors import GatewayError
from ..domain.fair_queue import FairQueue, QueueFullError
from ..domain.fleet_view import FleetView, ServedLane
from ..domain.homes import Homes
from ..logs.log import Log
from ..runtime.interrupts import within
from ..settings.config import Config
from ..settings.keys import KeyConfig
from .pending import PendingAnswer, UnreadBytes

LOG = Log()

#: Requests beyond the slots of a lane's nodes, so that a node with a free slot finds the next request at the broker.
AHEAD = 1

#: The least seconds that a request must have left when its turn comes. No node can answer in less.
LEAST_TIME = 0.01

#: Seconds after which a node may serve a model again that no node serves at the moment.
NO_NODE = 5.0

#: The assumed seconds of an inference before the first measurement, for the ``Retry-After`` of a full queue.
FIRST_GUESS = 5.0


Found = TypeVar("Found")


@dataclass(frozen=True)
class CarriedCall:
    """The request of a client.

    :ivar until: the deadline, on the monotonic clock.
    :ivar conversation: returns the conversation that the request belongs to, or ``None``.
    """

    path: str
    body: bytes
    model: str
    key: KeyConfig
    until: float
    conversation: Callable[[], Optional[bytes]]


class Exchange:
    """All requests of the gateway. For one event loop."""

    def __init__(self, config: Config, view: FleetView) -> None:
        self._config = config
        self._view = view
        self._session: Optional[BrokerSession] = None
        self._pending: dict[str, PendingAnswer] = {}
        self._unread = UnreadBytes(config.limits.unread_bytes)
        self._homes = Homes()
        self._queues: dict[str, FairQueue] = {}
        self._seconds: dict[str, float] = {}
        self._fleet_changed = asyncio.Event()
        self._new_since = time.monotonic()

    def use(self, session: BrokerSession) -> None:
        """Publish over this session."""
        self._session = session

    @property
    def in_flight(self) -> int:
        """The number of published, unanswered requests."""
        return len(self._pending)

    @property
    def waiting(self) -> dict[str, int]:
        """The number of waiting requests of each lane."""
        return {name: queue.waiting for name, queue in self._queues.items() if queue.waiting}

    def running(self) -> dict[str, int]:
        """The number of published, unanswered requests of each lane."""
        return {name: queue.out for name, queue in self._queues.items() if queue.out}

    def take_reply(self, message: Message) -> None:
        """Pass a message of the reply queue to its request."""
        correlation_id = message.properties.correlation_id or ""
        pending = self._pending.get(correlation_id)
        if pending is None:
            return  # the client has disconnected, and the gateway has cancelled the request
        try:
            pending.arrive(understand(message))
        except UnreadableAnswerError as error:
            LOG.error("answer_unreadable", correlation_id=correlation_id, error=error.message)
            pending.fail(GatewayError(502, "answer_unreadable", "A node has sent something that is not an answer"))

    def take_registry_event(self, message: Message) -> None:
        """Pass a registry event to the view, and wake the requests that wait for a change."""
        if self._view.add(message):
            self._fleet_changed.set()
            self._fleet_changed.clear()
            for queue in self._queues.values():
                queue.look()

    def connected(self) -> None:
        """Note that the connection is new, so the gateway has missed announcements."""
        self._new_since = time.monotonic()

    def connection_lost(self) -> None:
        """Fail all published requests: the reply queue is gone, and their answers with it."""
        for pending in self._pending.values():
            pending.fail(_no_broker("The connection to the broker was lost while the request was under way"))

    async def lane_of(self, path: str, model: str, until: float, key: Optional[KeyConfig] = None) -> ServedLane:
        """Return the lane that serves a model; wait for announcements while the connection is new.

        :raises GatewayError: 404 if no node has the model, 503 if no node serves it now, or without a broker.
        """
        lane = await self.announced(lambda: self._view.lane_of(path, model), until)
        if lane is None:
            raise self.missing(model, key)
        return lane

    async def announced(self, find: Callable[[], Optional[Found]], until: float) -> Optional[Found]:
        """Return the result of ``find``; while the connection is new, wait for announcements until there is a result.

        :param find: looks in the view of the fleet; returns ``None`` if nothing is found.
        """
        while True:
            found = find()
            if found is not None:
                return found
            # Nodes announce their lanes every 30 s, and a new connection may have missed the last announcement.
            patience = min(until, self._new_since + self._config.node_timeout / 2) - time.monotonic()
            if patience <= 0:
                return None
            try:
                with within(min(patience, 1.0)):
                    await self._fleet_changed.wait()
            except asyncio.TimeoutError:
                continue

    def need_broker(self) -> BrokerSession:
        """Return the session that is up.

        :raises GatewayError: 503 if there is none.
        """
        session = self._session
        if session is None or not session.is_up:
            raise _no_broker(f"The broker cannot be used: {session.trouble if session else 'not connected yet'}")
        return session

    def missing(self, model: str, key: Optional[KeyConfig] = None) -> GatewayError:
        """Return the error for a model without a lane: 404 if no node has the model, 503 if no node serves it now.

        :param key: the error names only models that this key may use.
        :raises GatewayError: 503 without a broker.
        """
        self.need_broker()
        if self._view.had(model):
            return GatewayError(
                503, "no_node", f"No node serves the model {model[:200]!r} at the moment", retry_after=NO_NODE
            )
        served = [model.name for model in self._view.models() if key is None or key.allows(model.name)]
        names = ", ".join(served[:20]) or "none"
        return GatewayError(
            404, "model_not_found", f"no node serves the model {model[:200]!r} here; served are: {names}"
        )

    @asynccontextmanager
    async def answer(self, call: CarriedCall, lane: ServedLane) -> AsyncIterator[PendingAnswer]:
        """Send a request, and cancel it if the block ends before the answer.

        :raises GatewayError: if the request cannot be sent.
        """
        self.need_broker()  # during an alarm no request ends, so no turn comes before the deadline
        queue = self._queue_of(lane.queue)
        try:
            with within(call.until - time.monotonic()):
                await queue.enter(call.key.name, call.key.weight)
        except QueueFullError as error:
            wait = error.waiting * self._seconds.get(lane.queue, FIRST_GUESS) / max(1, lane.slots)
            raise GatewayError(
                429, "queue_full", f"{error.waiting} requests wait for {lane.model} already", retry_after=max(1.0, wait)
            ) from error
        except asyncio.TimeoutError:
            raise _too_late() from None
        if call.until - time.monotonic() < LEAST_TIME:
            queue.leave()
            raise _too_late()
        correlation_id = f"gw_{uuid.uuid4()}"
        place = self._homes.choose(call.conversation, lane.own if self._config.conversations.stay else ())
        pending = PendingAnswer(self._unread, place)
        self._pending[correlation_id] = pending
        begun = time.monotonic()
        over = False
        try:
            with self._homes.turn(place):
                self._publish(call, lane, correlation_id, pending)
                yield pending
            over = True
            if place is not None:
                self._homes.answered(place, pending.node)
        finally:
            del self._pending[correlation_id]
            pending.discard()
            if not over and self._session is not None:
                self._session.cancel(self._view.nodes_of(lane.queue), correlation_id)
            else:
                seconds = time.monotonic() - begun
                known = self._seconds.get(lane.queue, seconds)
                self._seconds[lane.queue] = 0.9 * known + 0.1 * seconds
            queue.leave()

    def _publish(self, call: CarriedCall, lane: ServedLane, correlation_id: str, pending: PendingAnswer) -> None:
        """Publish a request to the chosen lane, or to the lane of all nodes if the chosen lane is gone or full."""
        session = self.need_broker()
        place = pending.place

        def send(queue: str, wait: float, refused: OnRefused) -> None:
            message = request_message(
                call.path,
                call.body,
                correlation_id=correlation_id,
                reply_to=session.reply_queue,
                seconds=max(0.001, call.until - time.monotonic()),
                wait=wait,
                priority=call.key.priority,
            )
            session.publish(message, queue, refused)

        def refused(why: str) -> None:
            pending.fail(_refusal(why, lane))

        def own_refused(why: str) -> None:
            if place is not None and why in (UNROUTABLE, FULL):
                self._homes.missed(place)
                if correlation_id in self._pending:  # otherwise nobody waits for the answer any more
                    send(lane.queue, math.inf, refused)
            else:
                refused(why)

        if place is None or place.lane is None:
            send(lane.queue, math.inf, refused)
        else:
            send(place.lane.queue, self._config.conversations.wait, own_refused)

    def _queue_of(self, name: str) -> FairQueue:
        queue = self._queues.get(name)
        if queue is None:

            def room() -> int:
                return AHEAD + self._view.slots_of(name)

            queue = self._queues[name] = FairQueue(room, self._config.limits.waiting)
        return queue


def _refusal(why: str, lane: ServedLane) -> GatewayError:
    if why == UNROUTABLE:
        return GatewayError(503, "no_node", f"No queue of {lane.model} exists any more", retry_after=NO_NODE)
    if why == FULL:
        return GatewayError(429, "queue_full", f"The queue of {lane.model} is full", retry_after=5)
    if why == LOST:
        return _no_broker("The connection to the broker was lost")
    return GatewayError(502, "not_taken", "The broker does not take this request")


def _too_late() -> GatewayError:
    return GatewayError(504, "deadline_exceeded", "The turn of the request did not come in time")


def _no_broker(message: str) -> GatewayError:
    return GatewayError(503, "no_broker", message, retry_after=2)
