# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The channels that requests come by, and where each of them is settled.

A delivery can be settled on the channel it came from and nowhere else: a delivery tag means something else, or nothing,
on every other one, and an unknown tag costs the channel. So a delivery carries its channel, and what came by one that
is gone is not settled at all: the broker has it back, and gives it out again.

There is one channel for all consumers, and some for asking lanes one by one (basic.get), because pika waits for the
answer to one question before it sends the next on the same channel. A channel is never closed from here: that would
give back what is unacknowledged on it.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any, Callable, Optional

from pika import spec
from pika.exceptions import ChannelClosedByBroker

from ._fleet.broker import BrokerSettings, channel_error
from ._fleet.errors import BrokerError
from ._fleet.pika_messages import from_pika
from .delivery import Delivery, ServedLane, delivery_count
from .logs import Log
from .serving import Verdict

LOG = Log()

#: Channels for asking lanes. A question takes about a millisecond, an inference hundreds of them.
GETTERS = 4


class _Getter:
    """A channel for asking lanes, and the lane whose answer it waits for."""

    def __init__(self) -> None:
        self.channel: Any = None
        self.asked: Optional[ServedLane] = None


class Intake:
    """Gets requests out of lanes.

    :param delivered: called with each request that a consumer has got.
    :param got: called with the lane that was asked, its request or None, and how many requests it still has.
    :param cancelled: called with a lane, and whether it was its second consumer, when the broker has confirmed its end.
    :param lane_lost: called with a lane whose queue is gone, or whose consumer the broker has ended: RabbitMQ 4.3 does
        that when it has lost patience with an unacknowledged delivery.
    :param closed: called with the reason when the broker has closed the channel of the consumers; not when the
        connection is gone.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        delivered: Callable[[Delivery], None],
        got: Callable[[ServedLane, Optional[Delivery], int], None],
        cancelled: Callable[[ServedLane, bool], None],
        lane_lost: Callable[[ServedLane, str], None],
        closed: Callable[[BrokerError], None],
    ) -> None:
        self._settings = settings
        self._delivered = delivered
        self._got = got
        self._cancelled = cancelled
        self._lane_lost = lane_lost
        self._closed = closed
        self._connection: Any = None
        self._channel: Any = None
        self._consumers: dict[str, tuple[ServedLane, bool]] = {}
        self._idle: list[_Getter] = []
        self._questions: deque[ServedLane] = deque()

    @property
    def is_open(self) -> bool:
        """Whether lanes can be consumed and asked."""
        return self._channel is not None and bool(self._channel.is_open)

    def open(self, connection: Any, ready: Callable[[], None]) -> None:
        """Open the channels of a new connection."""
        self._connection = connection
        self._idle.clear()
        self._questions.clear()
        self.open_consumers(ready)
        for _number in range(GETTERS):
            self._open_getter()

    def open_consumers(self, ready: Callable[[], None]) -> None:
        """Open the channel of the consumers, anew when the broker has closed it."""
        self._channel = None
        self._consumers.clear()

        def opened(channel: Any) -> None:
            self._channel = channel
            ready()

        channel = self._connection.channel(on_open_callback=opened)
        channel.add_on_close_callback(self._on_closed)
        channel.add_on_cancel_callback(self._on_cancelled_by_broker)
        channel.add_callback(self._on_cancel_ok, [spec.Basic.CancelOk], one_shot=False)

    # Consuming.

    def consume(self, served: ServedLane, prefetch: int, *, hot: bool) -> None:
        """Begin to consume a lane.

        :param prefetch: deliveries that this consumer may have unacknowledged.
        :param hot: whether it is the second consumer of the lane.
        """
        # Not global: the limit is that of each consumer begun afterwards, and quorum queues know no other.
        self._channel.basic_qos(prefetch_count=prefetch, callback=_ignored)
        arguments = {} if served.consumer_priority is None else {"x-priority": served.consumer_priority}
        on_message = partial(self._on_message, served, lambda delivery, _more: self._delivered(delivery))
        tag = self._channel.basic_consume(served.queue, on_message, arguments=arguments)
        self._consumers[tag] = (served, hot)

    def cancel(self, queue: str, *, hot: bool) -> None:
        """Stop consuming a lane. What is on its way still comes, until ``cancelled`` is called."""
        for tag in [tag for tag, (served, second) in self._consumers.items() if (served.queue, second) == (queue, hot)]:
            self._channel.basic_cancel(tag, callback=_ignored)

    # Asking.

    def get(self, served: ServedLane) -> None:
        """Ask a lane for one request."""
        self._questions.append(served)
        self._ask()

    def _open_getter(self) -> None:
        getter = _Getter()

        def opened(channel: Any) -> None:
            getter.channel = channel
            self._idle.append(getter)
            self._ask()

        channel = self._connection.channel(on_open_callback=opened)
        channel.add_callback(lambda _frame: self._answered(getter, None, 0), [spec.Basic.GetEmpty], one_shot=False)
        channel.add_on_close_callback(partial(self._on_getter_closed, getter))

    def _ask(self) -> None:
        while self._questions and self._idle:
            getter = self._idle.pop()
            if getter.channel.is_open:
                getter.asked = served = self._questions.popleft()
                receive = partial(self._answered, getter)
                getter.channel.basic_get(served.queue, partial(self._on_message, served, receive))

    def _answered(self, getter: _Getter, delivery: Optional[Delivery], more: int) -> None:
        served, getter.asked = getter.asked, None
        self._idle.append(getter)
        if served is not None:
            self._got(served, delivery, more)
        self._ask()

    # Settling.

    @staticmethod
    def settle(delivery: Delivery, verdict: Verdict) -> bool:
        """Settle a delivery; return whether it could be."""
        channel = delivery.channel
        if not channel.is_open:
            return False
        ends = verdict is Verdict.REJECT or (verdict is Verdict.REQUEUE and delivery.is_last)
        if ends and not delivery.can_be_dead_lettered:
            LOG.warning("not_dead_lettered", lane=delivery.served.queue, reason="the requester wrote a header x-death")
            verdict = Verdict.ACK
        if verdict is Verdict.ACK:
            channel.basic_ack(delivery.tag)
        elif verdict is Verdict.REJECT:
            channel.basic_reject(delivery.tag, requeue=False)
        else:
            channel.basic_nack(delivery.tag, requeue=True)
        return True

    # What pika calls.

    @staticmethod
    def _on_message(
        served: ServedLane,
        receive: Callable[[Delivery, int], None],
        channel: Any,
        method: Any,
        properties: Any,
        body: bytes,
    ) -> None:
        count = delivery_count(properties.headers, method.redelivered)
        delivery = Delivery(served, channel, method.delivery_tag, from_pika(properties, body), count)
        # Only the answer to a question says how many are left.
        receive(delivery, getattr(method, "message_count", None) or 0)

    def _on_cancel_ok(self, frame: Any) -> None:
        consumer = self._consumers.pop(frame.method.consumer_tag, None)
        if consumer is not None:
            self._cancelled(*consumer)

    def _on_cancelled_by_broker(self, frame: Any) -> None:
        consumer = self._consumers.pop(frame.method.consumer_tag, None)
        if consumer is not None:
            self._lane_lost(
                consumer[0], "the broker has ended its consumer; if the queue was deleted, what waited in it is gone"
            )

    def _on_closed(self, _channel: Any, error: BaseException) -> None:
        self._channel = None
        self._consumers.clear()
        if isinstance(error, ChannelClosedByBroker):
            self._closed(channel_error(error.reply_code, error.reply_text, self._settings))

    def _on_getter_closed(self, getter: _Getter, _channel: Any, error: BaseException) -> None:
        if not isinstance(error, ChannelClosedByBroker):
            return
        self._open_getter()
        if getter.asked is not None:
            reason = channel_error(error.reply_code, error.reply_text, self._settings)
            self._got(getter.asked, None, 0)
            self._lane_lost(getter.asked, reason.message)


def _ignored(_frame: Any) -> None:
    """Have pika wait for the broker's answer; without a callback it does not ask for one."""
