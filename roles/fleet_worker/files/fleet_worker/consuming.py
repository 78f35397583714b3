# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The channel that requests come by, and where each of them is settled.

A delivery can be settled on the channel it came from and nowhere else: a delivery tag means something else, or nothing,
on every other one, and an unknown tag costs the channel. So a delivery carries its channel, and what came by one that
is gone is not settled at all: the broker has it back, and gives it out again.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from pika.exceptions import ChannelClosedByBroker

from ._fleet.broker import BrokerSettings, channel_error
from ._fleet.errors import BrokerError
from ._fleet.pika_messages import from_pika
from .delivery import Delivery, ServedLane, delivery_count
from .serving import Verdict


class Consumer:
    """Consumes lanes over one channel.

    :param delivered: called with each delivery.
    :param cancelled: called with a lane whose consumer the broker has cancelled: its queue was deleted, or RabbitMQ 4.3
        has lost patience with an unacknowledged delivery.
    :param closed: called with the reason when the broker has closed the channel; not when the connection is gone.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        delivered: Callable[[Delivery], None],
        cancelled: Callable[[ServedLane], None],
        closed: Callable[[BrokerError], None],
    ) -> None:
        self._settings = settings
        self._delivered = delivered
        self._cancelled = cancelled
        self._closed = closed
        self._channel: Any = None
        self._lanes: dict[str, ServedLane] = {}

    def open(self, connection: Any, prefetch: int, ready: Callable[[], None]) -> None:
        """Open the channel.

        :param prefetch: deliveries that each consumer may have unacknowledged.
        """
        self._channel = None
        self._lanes.clear()

        def opened(channel: Any) -> None:
            # Not global: the limit is that of each consumer, and quorum queues know no other.
            channel.basic_qos(prefetch_count=prefetch, callback=lambda _frame: usable(channel))

        def usable(channel: Any) -> None:
            self._channel = channel
            ready()

        channel = connection.channel(on_open_callback=opened)
        channel.add_on_close_callback(self._on_closed)
        channel.add_on_cancel_callback(self._on_cancelled)

    def consume(self, served: ServedLane) -> None:
        """Begin to consume a lane."""
        arguments = {} if served.consumer_priority is None else {"x-priority": served.consumer_priority}

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self._delivered(
                Delivery(
                    served,
                    channel,
                    method.delivery_tag,
                    from_pika(properties, body),
                    delivery_count(properties.headers, method.redelivered),
                )
            )

        tag = self._channel.basic_consume(served.queue, on_message, arguments=arguments)
        self._lanes[tag] = served

    def cancel(self, served: ServedLane) -> None:
        """Stop consuming a lane. What is on its way still comes."""
        for tag in [tag for tag, lane in self._lanes.items() if lane is served]:
            del self._lanes[tag]
            self._channel.basic_cancel(tag, callback=lambda _frame: None)

    @property
    def is_open(self) -> bool:
        return self._channel is not None and bool(self._channel.is_open)

    @staticmethod
    def settle(delivery: Delivery, verdict: Verdict) -> bool:
        """Settle a delivery; return whether it could be."""
        channel = delivery.channel
        if not channel.is_open:
            return False
        if verdict is Verdict.ACK:
            channel.basic_ack(delivery.tag)
        elif verdict is Verdict.REJECT:
            channel.basic_reject(delivery.tag, requeue=False)
        else:
            channel.basic_nack(delivery.tag, requeue=True)
        return True

    def _on_cancelled(self, frame: Any) -> None:
        served: Optional[ServedLane] = self._lanes.pop(frame.method.consumer_tag, None)
        if served is not None:
            self._cancelled(served)

    def _on_closed(self, _channel: Any, error: BaseException) -> None:
        self._channel = None
        self._lanes.clear()
        if isinstance(error, ChannelClosedByBroker):
            self._closed(channel_error(error.reply_code, error.reply_text, self._settings))
