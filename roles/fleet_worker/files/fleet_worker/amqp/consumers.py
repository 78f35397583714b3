# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The channels that requests come by. Each delivery carries its own settlement (``domain/settlement.py``).

There is one channel for all consumers, and there are some for asking lanes one by one (``getters.py``). A channel is
never closed from here: that would give back what is unacknowledged on it.

A lane whose queue this user may declare and not read costs each channel that it is consumed or asked by. So a lane is
asked once before anything else, on a channel that no delivery depends on, and consumed when the broker has answered.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import Any, Callable, Optional

from pika import spec
from pika.exceptions import ChannelClosedByBroker

from .._fleet.broker import BrokerSettings, channel_error
from .._fleet.errors import BrokerError
from .._fleet.pika_messages import from_pika
from .._ollama.retry import RetryPolicy
from ..domain.delivery import Delivery, LaneSettings, delivery_count
from ..domain.settlement import Settlement
from ..logs.defects import contained
from .getters import PATIENCE, GetRequest, Getters
from .reconnecting import ReconnectingConnection

#: Channels for asking lanes, and for asking those that were never asked. A question takes about a millisecond, an
#: inference hundreds of them.
GETTERS = 4
PROBERS = 2

#: Seconds until a lane is declared again whose queue is gone.
RETRY_GONE = 1.0

#: The same for a queue that may not be read: 1 to 2 s, doubled each time, 5 minutes at most; and how often that is.
PAUSES = RetryPolicy(base=2.0, cap=300.0)
MANY = 20


class Consumers:
    """Gets requests out of lanes.

    :param link: the connection to the broker.
    :param delivered: called with each request that a consumer has got.
    :param got: called with the lane that was asked, its request or None, and how many requests it still has.
    :param cancelled: called with a lane, and whether it was its second consumer, when the broker has confirmed its end.
    :param lane_lost: called with a lane whose queue is gone or may not be read, or whose consumer the broker has ended:
        RabbitMQ 4.3 does that when it has lost patience with an unacknowledged delivery. Beside it are the reason, and
        seconds until the lane is to be tried again.
    :param silent: called with a lane for which the broker does not answer for now, and whether it was asked for one
        request, and not for a consumer.
    :param closed: called with the reason when the broker has closed the channel of the consumers; not when the
        connection is gone.
    """

    def __init__(
        self,
        link: ReconnectingConnection,
        settings: BrokerSettings,
        *,
        delivered: Callable[[Delivery], None],
        got: Callable[[LaneSettings, Optional[Delivery], int], None],
        cancelled: Callable[[LaneSettings, bool], None],
        lane_lost: Callable[[LaneSettings, str, float], None],
        silent: Callable[[LaneSettings, bool], None],
        closed: Callable[[BrokerError], None],
    ) -> None:
        self._link = link
        self._settings = settings
        self._delivered = delivered
        self._got = got
        self._cancelled = cancelled
        self._lane_lost = lane_lost
        self._silent = silent
        self._closed = closed
        self._channel: Any = None
        self._consumers: dict[str, tuple[LaneSettings, bool]] = {}
        #: Lanes that consumers were asked for, and when, until the broker has said that there is one.
        self._beginning: deque[tuple[LaneSettings, float]] = deque()
        self._looking = self._told_silent = False
        #: Queues that the broker lets us read, over this connection.
        self._readable: set[str] = set()
        #: Consumers that wait until it is known whether their queue is readable, with their prefetch.
        self._unproven: dict[tuple[str, bool], tuple[LaneSettings, int]] = {}
        #: How often in a row the broker has refused to let us read each queue.
        self._refusals: dict[str, int] = {}
        self._getters = Getters(link, GETTERS, self._received)
        self._probers = Getters(link, PROBERS, self._received, once=True)

    @property
    def is_open(self) -> bool:
        """Whether lanes can be consumed and asked."""
        return self._channel is not None and bool(self._channel.is_open)

    def open(self, ready: Callable[[], None]) -> None:
        """Open the channels of a new connection."""
        self._readable.clear()
        self.open_consumers(ready)
        self._getters.open()
        self._probers.open()

    def open_consumers(self, ready: Callable[[], None]) -> None:
        """Open the channel of the consumers, anew when the broker has closed it."""
        self._forget_consumers()

        def opened(channel: Any) -> None:
            self._channel = channel
            ready()

        channel = self._link.channel(on_open_callback=opened)
        channel.add_on_close_callback(self._on_closed)
        channel.add_on_cancel_callback(self._on_cancelled_by_broker)
        channel.add_callback(self._on_cancel_ok, [spec.Basic.CancelOk], one_shot=False)

    # Consuming

    def consume(self, lane: LaneSettings, prefetch: int, *, hot: bool) -> None:
        """Begin to consume a lane.

        :param prefetch: deliveries that this consumer may have unacknowledged.
        :param hot: whether it is the second consumer of the lane.
        """
        if lane.queue in self._readable:
            self._consume(lane, prefetch, hot)
            return
        self._unproven[(lane.queue, hot)] = (lane, prefetch)
        answered = partial(self._proven, lane)
        self._probers.ask(
            GetRequest(
                lane,
                answered,
                partial(self._refused, lane),
                overdue=partial(self._silent, lane, False),
                late=lambda delivery: answered(delivery, 0),
            )
        )

    def _proven(self, lane: LaneSettings, delivery: Optional[Delivery], _more: int) -> None:
        """The broker lets us read a lane that is to be consumed."""
        self._may_be_read(lane)
        for hot in (False, True):
            waiting = self._unproven.pop((lane.queue, hot), None)
            if waiting is not None:
                self._consume(*waiting, hot)
        if delivery is not None:
            self._delivered(delivery)

    def _consume(self, lane: LaneSettings, prefetch: int, hot: bool) -> None:
        # Not global: the limit is that of each consumer begun afterwards, and quorum queues know no other.
        self._channel.basic_qos(prefetch_count=prefetch, callback=_ignored)
        arguments = {} if lane.consumer_priority is None else {"x-priority": lane.consumer_priority}

        def received(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            delivery = self._received(lane, channel, method, properties, body)
            if delivery is not None:
                self._delivered(delivery)

        tag = self._channel.basic_consume(lane.queue, received, arguments=arguments, callback=self._on_consume_ok)
        self._consumers[tag] = (lane, hot)
        self._beginning.append((lane, time.monotonic()))
        self._look_later()

    def _look_later(self) -> None:
        """Look when the broker should have begun the consumer that it begins next."""
        if self._beginning and not self._looking:
            self._looking = True
            seconds = max(0.0, self._beginning[0][1] + PATIENCE - time.monotonic())
            self._link.call_later(seconds, partial(self._look_for_silence, self._channel))

    def _look_for_silence(self, channel: Any) -> None:
        """Say which lane has waited too long for its consumer."""
        if channel is not self._channel:
            return
        self._looking = False
        if not self._beginning or self._told_silent:
            return
        lane, since = self._beginning[0]
        if time.monotonic() - since < PATIENCE:
            self._look_later()
            return
        self._told_silent = True
        self._silent(lane, False)

    def cancel(self, queue: str, *, hot: bool) -> None:
        """Stop consuming a lane. What is on its way still comes, until ``cancelled`` is called."""
        waiting = self._unproven.pop((queue, hot), None)
        if waiting is not None:
            # The consumer was never started. The caller's callback runs later, as always.
            self._channel.basic_qos(prefetch_count=1, callback=lambda _frame: self._cancelled(waiting[0], hot))
        for tag in [tag for tag, (lane, second) in self._consumers.items() if (lane.queue, second) == (queue, hot)]:
            self._channel.basic_cancel(tag, callback=_ignored)

    # Getting

    def get(self, lane: LaneSettings) -> None:
        """Ask a lane for one request."""

        def answered(delivery: Optional[Delivery], more: int) -> None:
            self._may_be_read(lane)
            self._got(lane, delivery, more)

        def refused(error: ChannelClosedByBroker) -> None:
            self._got(lane, None, 0)
            self._refused(lane, error)

        def late(delivery: Optional[Delivery]) -> None:
            self._may_be_read(lane)
            if delivery is not None:
                self._delivered(delivery)

        getters = self._getters if lane.queue in self._readable else self._probers
        getters.ask(GetRequest(lane, answered, refused, overdue=partial(self._silent, lane, True), late=late))

    def _may_be_read(self, lane: LaneSettings) -> None:
        if lane.queue not in self._readable:
            self._readable.add(lane.queue)
            self._refusals.pop(lane.queue, None)

    def _refused(self, lane: LaneSettings, error: ChannelClosedByBroker) -> None:
        """The broker has closed a channel because of a lane."""
        self._readable.discard(lane.queue)
        for hot in (False, True):
            self._unproven.pop((lane.queue, hot), None)
        reason = channel_error(error.reply_code, error.reply_text, self._settings)
        number = self._refusals[lane.queue] = min(MANY, self._refusals.get(lane.queue, 0) + 1)
        self._lane_lost(lane, reason.message, PAUSES.delay(number))

    # Callbacks of pika

    @staticmethod
    def _received(lane: LaneSettings, channel: Any, method: Any, properties: Any, body: bytes) -> Optional[Delivery]:
        """Return the delivery of a message; None when the message cannot be one, and was rejected."""

        def read() -> Delivery:
            count = delivery_count(properties.headers, method.redelivered)
            delivery = Delivery(lane, Settlement(channel, method.delivery_tag), from_pika(properties, body), count)
            _identity = delivery.identity  # worked out here, so that nothing raises later
            return delivery

        def reject(_error: Exception) -> None:
            # The message must not come back to meet the defect again and again.
            channel.basic_reject(method.delivery_tag, requeue=False)

        return contained(read, reject, lane=lane.queue)

    def _on_consume_ok(self, _frame: Any) -> None:
        self._beginning.popleft()
        self._told_silent = False
        self._look_later()

    def _on_cancel_ok(self, frame: Any) -> None:
        consumer = self._consumers.pop(frame.method.consumer_tag, None)
        if consumer is not None:
            self._cancelled(*consumer)

    def _on_cancelled_by_broker(self, frame: Any) -> None:
        consumer = self._consumers.pop(frame.method.consumer_tag, None)
        if consumer is not None:
            self._readable.discard(consumer[0].queue)
            self._lane_lost(
                consumer[0],
                "the broker has ended its consumer; if the queue was deleted, what waited in it is gone",
                RETRY_GONE,
            )

    def _on_closed(self, _channel: Any, error: BaseException) -> None:
        # One consumer is begun after the other on a channel, and the broker closes it for the first that it refuses.
        culprit = self._beginning[0][0] if self._beginning else None
        self._forget_consumers()
        if isinstance(error, ChannelClosedByBroker):
            self._closed(channel_error(error.reply_code, error.reply_text, self._settings))
            if culprit is not None:
                self._refused(culprit, error)

    def _forget_consumers(self) -> None:
        self._channel = None
        self._looking = self._told_silent = False
        for kept in (self._consumers, self._beginning, self._unproven):
            kept.clear()


def _ignored(_frame: Any) -> None:
    """Have pika wait for the broker's answer; without a callback it does not ask for one."""
