# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A channel that publishes messages and receives their answers.

A message is published as mandatory and with a confirm, so that the broker says at once that no queue takes the message
(it returns the message) or that the queue is full (it refuses the message). The receiver of an answer is registered
before the message is published, because an answer can arrive before the confirm.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any, Optional

from .broker_connection import BrokerConnection
from .direct_reply import DIRECT_REPLY_TO
from .errors import FleetBackpressureError, FleetPublishTimeoutError, NoFleetQueueError
from .messages import Message
from .pika_messages import confirmed_tags, from_pika, to_pika

#: Seconds for the broker to confirm a message: a quorum queue writes to the disks of most of its members first.
CONFIRM_TIMEOUT = 10.0


def reply_queue_name() -> str:
    """Return a new name for the reply queue of one requester."""
    return f"llm.fleet.reply.{uuid.uuid4().hex[:16]}"


class PublishedMessage:
    """A message that was published, and may be answered.

    :ivar confirmed: whether the broker has taken the message; None until it confirms or refuses.
    :ivar returned: whether the broker has returned the message, because no queue takes it.
    """

    def __init__(self, message_id: Optional[str]) -> None:
        self.message_id = message_id
        self.confirmed: Optional[bool] = None
        self.returned = False

    def arrive(self, message: Message) -> None:
        """Receive an answer."""
        raise NotImplementedError


class ReplyChannel:
    """One channel with a queue for answers; :meth:`open` makes both.

    :param direct: use RabbitMQ's direct reply-to instead of a queue. It needs no right to declare queues, and workers
        older than this collection's cannot answer to it.
    """

    def __init__(self, connection: BrokerConnection, *, direct: bool = False) -> None:
        self.reply_to = DIRECT_REPLY_TO if direct else reply_queue_name()
        self._connection = connection
        self._direct = direct
        self._channel: Any = None
        self._published = 0
        self._by_tag: dict[int, PublishedMessage] = {}
        self._by_correlation_id: dict[str, PublishedMessage] = {}

    def open(self) -> None:
        """Make the channel and the queue, unless they are there.

        :raises BrokerError: if the broker refuses one of them.
        """
        connection = self._connection
        connection.require_open()
        if self._channel is not None:
            return
        channel = connection.open_channel()
        done: list[Any] = []
        channel.add_on_return_callback(connection.noticing(self._returned))
        channel.confirm_delivery(connection.noticing(self._confirmed), callback=connection.noticing(done.append))
        connection.require_step(lambda: len(done) == 1, "turn publisher confirms on")
        if not self._direct:
            # Exclusive, unlike LegionIO's: the broker always removes it with the connection, and RabbitMQ 4.3 denies
            # queues that are neither durable nor exclusive.
            channel.queue_declare(
                self.reply_to, exclusive=True, auto_delete=True, callback=connection.noticing(done.append)
            )
            connection.require_step(lambda: len(done) == 2, f"declare the reply queue {self.reply_to}")
        consuming: list[Any] = []
        connection.consume(channel, self.reply_to, self._arrived, consuming.append)
        connection.require_step(lambda: bool(consuming), f"consume the reply queue {self.reply_to}")
        self._channel = channel

    @contextlib.contextmanager
    def waiting(self, correlation_id: str, published: PublishedMessage) -> Iterator[None]:
        """Pass the answers with this correlation id to ``published`` while the context lasts."""
        self._by_correlation_id[correlation_id] = published
        try:
            yield
        finally:
            del self._by_correlation_id[correlation_id]

    def publish(self, message: Message, published: PublishedMessage, exchange: str, routing_key: str) -> None:
        """Publish a message, and wait until the broker has taken or refused it.

        :raises NoFleetQueueError: if no queue takes the message.
        :raises FleetBackpressureError: if the queue is full.
        :raises FleetPublishTimeoutError: if the broker does not say whether it has the message.
        :raises BrokerError: if the connection is gone.
        """
        self._published += 1
        self._by_tag[self._published] = published
        self._channel.basic_publish(exchange, routing_key, message.body, to_pika(message), mandatory=True)
        self._connection.wait_until(lambda: published.confirmed is not None, CONFIRM_TIMEOUT)
        self._connection.require_open()
        where = f"the exchange {exchange!r} with the key {routing_key!r}"
        if published.returned:
            raise NoFleetQueueError(
                f"No queue takes a request to {where}",
                remedy="Check the model, the style of the lane and the exchange, and that a worker for it is running",
                exchange=exchange,
                routing_key=routing_key,
            )
        if published.confirmed is None:
            raise FleetPublishTimeoutError(
                f"The broker did not confirm a request to {where} within {CONFIRM_TIMEOUT:g} s",
                remedy="Check whether the broker has an alarm (rabbitmq-diagnostics check_alarms), and whether"
                " most members of the queue are up",
                exchange=exchange,
                routing_key=routing_key,
            )
        if not published.confirmed:
            raise FleetBackpressureError(
                f"The queue behind {where} refuses the request: it is full",
                remedy="Try again later, or add workers for this model",
                exchange=exchange,
                routing_key=routing_key,
            )

    def _confirmed(self, frame: Any) -> None:
        tags, positive = confirmed_tags(frame, self._by_tag)
        for tag in tags:
            published = self._by_tag.pop(tag, None)
            if published is not None:
                published.confirmed = positive

    def _returned(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        for published in self._by_correlation_id.values():
            if published.message_id == properties.message_id:
                published.returned = True

    def _arrived(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        message = from_pika(properties, body)
        # By its correlation id, as LegionIO's readers do. An answer that comes too late is dropped.
        published = self._by_correlation_id.get(message.properties.correlation_id or "")
        if published is not None:
            published.arrive(message)
