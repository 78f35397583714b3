# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The channels for deliveries of requests. Each delivery has its own settlement (``domain/settlement.py``).

One channel has all consumers, and further channels fetch single requests (``getters.py``). The worker never closes such
a channel while it has unacknowledged requests, because the broker would requeue them.

If the user may declare a queue but not read it, the broker closes every channel that reads from the queue. So the
worker first tries a get on a channel without deliveries, and consumes the lane only after the broker has answered.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, Callable, Optional

from pika import spec
from pika.exceptions import ChannelClosedByBroker

from .._fleet.broker import ENDED_FOR_AN_ERROR, BrokerSettings, channel_error
from .._fleet.errors import BrokerError
from .._fleet.pika_messages import from_pika
from .._ollama.retry import RetryPolicy
from ..domain.delivery import Delivery, LaneSettings, delivery_count
from ..domain.settlement import Settlement
from ..logs.defects import contained
from .broken_lanes import BrokenLanes
from .getters import PATIENCE, GetRequest, Getters
from .reconnecting import ReconnectingConnection

#: The channels for gets, and for the first get of a lane. A get takes about a millisecond, an inference hundreds.
GETTERS = 4
PROBERS = 2

#: Seconds until the worker declares a deleted queue again.
RETRY_GONE = 1.0

#: The pauses for an unreadable queue: 1 to 2 s, doubled each time, at most 5 minutes; and the most counted refusals.
PAUSES = RetryPolicy(base=2.0, cap=300.0)
MANY = 20


class Consumers:
    """Takes requests from lanes.

    This class is long because each way to lose a consumer, a get or a channel changes the same few tables of queues.

    :param link: the connection to the broker.
    :param delivered: called with each request of a consumer.
    :param got: called after a get with the lane, its request or ``None``, and the number of requests in the queue.
    :param cancelled: called once for each call of :meth:`cancel`, when the consumer brings no more requests, with the
        queue, and whether the consumer was the second one.
    :param lane_lost: called with a lane, the reason, and the seconds until the next attempt, if the queue is deleted or
        unreadable, or if the broker has ended a consumer: RabbitMQ 4.3 does so after its consumer timeout. The lane may
        have another consumer.
    :param silent: called with a lane for which the broker does not answer, and whether the worker waits for a get
        instead of a consumer.
    :param closed: called with the reason if the broker closes the channel of the consumers; not after a lost
        connection.
    :ivar broken: the lanes for which the broker has ended connections.
    """

    def __init__(
        self,
        link: ReconnectingConnection,
        settings: BrokerSettings,
        *,
        delivered: Callable[[Delivery], None],
        got: Callable[[LaneSettings, Optional[Delivery], int], None],
        cancelled: Callable[[str, bool], None],
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
        #: The settings since the last reload, by queue. A consumer and an unanswered get may be older.
        self._lanes: Mapping[str, LaneSettings] = {}
        self._consumers: dict[str, tuple[LaneSettings, bool]] = {}
        #: The tags of cancelled consumers, until the broker confirms the cancellation.
        self._ending: set[str] = set()
        #: The lanes whose consumer the broker has not confirmed, with the time of the command.
        self._beginning: deque[tuple[LaneSettings, float]] = deque()
        self._checking = self._reported_silent = False
        #: The queues that are readable over this connection.
        self._readable: set[str] = set()
        #: The consumers that wait for the first get of their queue, with their prefetch.
        self._unproven: dict[tuple[str, bool], tuple[LaneSettings, int]] = {}
        #: The number of refusals in a row of each unreadable queue.
        self._refusals: dict[str, int] = {}
        self.broken = BrokenLanes()
        #: The time of the last answer to a get or a consume over this connection, by queue.
        self._answered: dict[str, float] = {}
        #: The consumer without a confirm at the end of the connection, as in ``_beginning``.
        self._interrupted: Optional[tuple[LaneSettings, float]] = None
        #: Whether a consumer was being cancelled at the end of the connection.
        self._cancelling = False
        self._getters = Getters(link, GETTERS, self._received)
        self._probers = Getters(link, PROBERS, self._received, once=True)

    @property
    def is_open(self) -> bool:
        """Whether the channels are open."""
        return self._channel is not None and bool(self._channel.is_open)

    def open(self, ready: Callable[[], None]) -> None:
        """Open the channels of a new connection."""
        self._readable.clear()
        self._answered.clear()
        self._interrupted, self._cancelling = None, False
        self.open_consumers(ready)
        self._getters.open()
        self._probers.open()

    def open_consumers(self, ready: Callable[[], None]) -> None:
        """Open the channel of the consumers, also after the broker has closed it."""
        self._forget_consumers()

        def opened(channel: Any) -> None:
            self._channel = channel
            ready()

        channel = self._link.channel(on_open_callback=opened)
        channel.add_on_close_callback(self._on_closed)
        channel.add_on_cancel_callback(self._on_cancelled_by_broker)
        channel.add_callback(self._on_cancel_ok, [spec.Basic.CancelOk], one_shot=False)

    def update(self, lanes: Mapping[str, LaneSettings]) -> None:
        """Use new settings of lanes, by queue, for each delivery from now on, also of a running consumer."""
        self._lanes = lanes

    def connection_lost(self, error: BrokerError) -> bool:
        """Let the lanes rest for which the broker has probably ended the connection.

        The broker also ends the connection when a consumer is cancelled. Then no lane rests, because several consumers
        may be cancelled together, and the next get shows which lane is broken.

        :param error: the reason, with the broker's code (``amqp_code``) if the broker has ended the connection.
        :return: whether a get, a consume or a cancel explains the end.
        """
        code = error.details.get("amqp_code")
        if not isinstance(code, int) or code < ENDED_FOR_AN_ERROR:
            return False
        unanswered = [*self._getters.unanswered(), *self._probers.unanswered()]
        if self._interrupted is not None:
            lane, since = self._interrupted
            unanswered.append((lane.queue, since))
        named = [(queue, since) for queue, since in unanswered if f"'{queue}'" in error.message]
        # A frozen leader never answers a get, though the queue's next leader has answered later ones.
        self.broken.note(
            {queue for queue, since in named or unanswered if self._answered.get(queue, since) <= since}, error.message
        )
        return bool(unanswered) or self._cancelling

    # Consuming

    def consume(self, lane: LaneSettings, prefetch: int, *, hot: bool) -> None:
        """Begin to consume a lane.

        :param prefetch: the most unacknowledged deliveries of this consumer.
        :param hot: whether this is the second consumer of the lane.
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
        """Consume a lane after its first get has shown that the queue is readable."""
        self._may_be_read(lane)
        for hot in (False, True):
            waiting = self._unproven.pop((lane.queue, hot), None)
            if waiting is not None:
                self._consume(*waiting, hot)
        if delivery is not None:
            self._delivered(delivery)

    def _consume(self, lane: LaneSettings, prefetch: int, hot: bool) -> None:
        if not self.is_open:
            return  # the connection closes, and the scheduler forgets all consumers
        # The limit is not global: it applies to each later consumer. Quorum queues support no other limit.
        self._channel.basic_qos(prefetch_count=prefetch, callback=_ignored)
        priority = self._current(lane).consumer_priority
        arguments = {} if priority is None else {"x-priority": priority}

        def received(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            delivery = self._received(lane, channel, method, properties, body)
            if delivery is not None:
                self._delivered(delivery)

        tag = self._channel.basic_consume(lane.queue, received, arguments=arguments, callback=self._on_consume_ok)
        self._consumers[tag] = (lane, hot)
        self._beginning.append((lane, time.monotonic()))
        self._check_later()

    def _check_later(self) -> None:
        """Check later whether the broker has confirmed the next consumer."""
        if self._beginning and not self._checking:
            self._checking = True
            seconds = max(0.0, self._beginning[0][1] + PATIENCE - time.monotonic())
            self._link.call_later(seconds, partial(self._check_silence, self._channel))

    def _check_silence(self, channel: Any) -> None:
        """Report the lane whose consumer is overdue."""
        if channel is not self._channel:
            return
        self._checking = False
        if not self._beginning or self._reported_silent:
            return
        lane, since = self._beginning[0]
        if time.monotonic() - since < PATIENCE:
            self._check_later()
            return
        self._reported_silent = True
        self._silent(lane, False)

    def cancel(self, queue: str, *, hot: bool) -> None:
        """Stop consuming a lane. Deliveries may arrive until the call of ``cancelled``."""
        if not self.is_open:
            return  # as in _consume
        self._unproven.pop((queue, hot), None)
        started = [tag for tag, (lane, second) in self._consumers.items() if (lane.queue, second) == (queue, hot)]
        tags = [tag for tag in started if tag not in self._ending]
        for tag in tags:
            self._ending.add(tag)
            self._channel.basic_cancel(tag, callback=_ignored)
        if not tags:
            # The consumer has never started, or the broker has ended it. The callback runs later, as for the others.
            self._channel.basic_qos(prefetch_count=1, callback=lambda _frame: self._cancelled(queue, hot))

    # Getting

    def get(self, lane: LaneSettings, *, keeps_alive: bool = False) -> None:
        """Fetch one request from a lane.

        :param keeps_alive: whether the get only keeps the queue from expiring, so that a queue with consumers needs
            none.
        """

        def answered(delivery: Optional[Delivery], more: int) -> None:
            self._may_be_read(lane)
            self._got(lane, delivery, more)

        def refused(error: ChannelClosedByBroker) -> None:
            # First, because the worker may consume all of its lanes after an empty get.
            self._refused(lane, error)
            self._got(lane, None, 0)

        def late(delivery: Optional[Delivery]) -> None:
            self._may_be_read(lane)
            if delivery is not None:
                self._delivered(delivery)

        self._probers.close_retired()  # which are asked no more when all lanes are readable
        getters = self._getters if lane.queue in self._readable else self._probers
        overdue = partial(self._silent, lane, True)
        consumed = partial(self._got, lane, None, 0) if keeps_alive else None
        getters.ask(GetRequest(lane, answered, refused, overdue=overdue, late=late, consumed=consumed))

    def _may_be_read(self, lane: LaneSettings) -> None:
        self._has_answered(lane)
        if lane.queue not in self._readable:
            self._readable.add(lane.queue)
            self._refusals.pop(lane.queue, None)

    def _has_answered(self, lane: LaneSettings) -> None:
        self._answered[lane.queue] = time.monotonic()
        self.broken.mended(lane.queue)

    def _refused(self, lane: LaneSettings, error: ChannelClosedByBroker) -> None:
        """Handle a channel that the broker has closed because of a lane."""
        self._readable.discard(lane.queue)
        for hot in (False, True):
            self._unproven.pop((lane.queue, hot), None)
        reason = channel_error(error.reply_code, error.reply_text, self._settings)
        number = self._refusals[lane.queue] = min(MANY, self._refusals.get(lane.queue, 0) + 1)
        self._lane_lost(lane, reason.message, PAUSES.delay(number))

    # Callbacks of pika

    def _received(
        self, asked: LaneSettings, channel: Any, method: Any, properties: Any, body: bytes
    ) -> Optional[Delivery]:
        """Return the delivery of a message; ``None`` if the message was rejected because of a defect."""
        lane = self._current(asked)
        settlement = Settlement(channel, method.delivery_tag)
        delivery: Optional[Delivery] = None

        def read() -> Delivery:
            nonlocal delivery
            count = delivery_count(properties.headers, method.redelivered)
            delivery = Delivery(lane, settlement, from_pika(properties, body), count)
            _identity = delivery.identity  # computed here, where an exception only rejects the message
            return delivery

        def reject(_error: Exception) -> None:
            # A requeued message would meet the defect again and again.
            (settlement if delivery is None else delivery).reject()

        return contained(read, reject, lane=lane.queue)

    def _current(self, lane: LaneSettings) -> LaneSettings:
        """Return the settings of a lane since the last reload; a removed lane keeps its last ones."""
        return self._lanes.get(lane.queue, lane)

    def _on_consume_ok(self, _frame: Any) -> None:
        lane, _since = self._beginning.popleft()
        self._has_answered(lane)
        self._reported_silent = False
        self._check_later()

    def _on_cancel_ok(self, frame: Any) -> None:
        self._ending.discard(frame.method.consumer_tag)
        consumer = self._consumers.pop(frame.method.consumer_tag, None)
        if consumer is not None:
            lane, hot = consumer
            self._cancelled(lane.queue, hot)

    def _on_cancelled_by_broker(self, frame: Any) -> None:
        tag = frame.method.consumer_tag
        consumer = self._consumers.get(tag)
        if consumer is not None:
            # If the worker has cancelled the consumer meanwhile, the broker still confirms the worker's cancellation.
            if tag not in self._ending:
                del self._consumers[tag]
            lane, _hot = consumer
            self._readable.discard(lane.queue)
            self._lane_lost(
                lane,
                "the broker has ended the consumer of this lane; if somebody deleted the queue, its waiting requests "
                "are lost",
                RETRY_GONE,
            )

    def _on_closed(self, _channel: Any, error: BaseException) -> None:
        # The broker starts consumers in order, and closes the channel at the first one that it refuses.
        interrupted, cancelling = self._beginning[0] if self._beginning else None, bool(self._ending)
        self._forget_consumers()
        if isinstance(error, ChannelClosedByBroker):
            self._closed(channel_error(error.reply_code, error.reply_text, self._settings))
            if interrupted is not None:
                self._refused(interrupted[0], error)
        else:
            self._interrupted, self._cancelling = interrupted, cancelling

    def _forget_consumers(self) -> None:
        self._channel = None
        self._checking = self._reported_silent = False
        for kept in (self._consumers, self._ending, self._beginning, self._unproven):
            kept.clear()


def _ignored(_frame: Any) -> None:
    """Do nothing. Without a callback, pika would not wait for the broker's answer."""
