# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The publishing of requests with confirms. The sender of a request learns if the broker does not take the request."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Optional

from pika.exceptions import ChannelClosedByBroker

from .._fleet.errors import FleetError
from .._fleet.messages import Message
from .._fleet.pika_messages import confirmed_tags, to_pika
from ..logs.log import Log
from .open_connection import OpenConnection

LOG = Log()

#: Seconds until the publisher opens another channel after the broker has closed one.
RETRY_CHANNEL = 1.0

#: Reasons for a refused request: the lane has no queue, the queue is full, the broker refuses the message, or the
#: connection is lost.
UNROUTABLE, FULL, UNACCEPTABLE, LOST = "unroutable", "full", "unacceptable", "lost"

OnRefused = Callable[[str], None]


class RequestPublisher:
    """Publishes requests on one channel, and opens another one if the broker closes it. For one event loop.

    :param exchange: the exchange that the lanes are bound to.
    """

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange
        self._channel: Any = None
        self._tag = 0
        #: The unconfirmed requests by delivery tag: message id, and the callback for a refusal.
        self._unconfirmed: dict[int, tuple[str, OnRefused]] = {}
        self._returned: set[str] = set()
        self._reopening: Optional[asyncio.Future[None]] = None

    @property
    def is_open(self) -> bool:
        """Whether the publisher can publish."""
        return self._channel is not None and bool(self._channel.is_open)

    async def open(self, connection: OpenConnection) -> None:
        """Use a new connection.

        :raises FleetError: if the broker refuses the channel or its confirms.
        :raises asyncio.TimeoutError: if the broker does not answer.
        """
        channel = await connection.channel()
        await connection.do(channel, lambda done: channel.confirm_delivery(self._confirmed, callback=done))
        channel.add_on_return_callback(self._on_returned)
        channel.add_on_close_callback(lambda _channel, error: self._closed(connection, error))
        self._tag = 0
        self._channel = channel

    def publish(self, message: Message, routing_key: str, refused: OnRefused) -> None:
        """Send a request.

        :param refused: called with the reason if the broker does not deliver the request to a queue.
        """
        if not self.is_open:
            refused(LOST)
            return
        try:
            self._channel.basic_publish(self._exchange, routing_key, message.body, to_pika(message), mandatory=True)
        except Exception:
            LOG.exception("cannot_publish", lane=routing_key)
            refused(UNACCEPTABLE)
            return
        self._tag += 1
        self._unconfirmed[self._tag] = (str(message.properties.message_id), refused)

    def drop(self) -> None:
        """Forget the lost connection. Requests without a confirm may be lost, too."""
        self._channel = None
        self._refuse_all(LOST)

    def _confirmed(self, frame: Any) -> None:
        tags, positive = confirmed_tags(frame, self._unconfirmed)
        for tag in tags:
            found = self._unconfirmed.pop(tag, None)
            if found is None:
                continue
            message_id, refused = found
            if message_id in self._returned:
                self._returned.discard(message_id)
                refused(UNROUTABLE)
            elif not positive:
                refused(FULL)

    def _on_returned(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        # The broker returns a message before it confirms it.
        self._returned.add(str(properties.message_id))

    def _closed(self, connection: OpenConnection, error: BaseException) -> None:
        self._channel = None
        # pika closes the channels of a lost connection before it reports the loss.
        self._refuse_all(UNACCEPTABLE if isinstance(error, ChannelClosedByBroker) else LOST)
        if isinstance(error, ChannelClosedByBroker) and connection.is_open:
            LOG.error("channel_closed", error=str(connection.error_of(error)))
            asyncio.get_running_loop().call_later(RETRY_CHANNEL, self._reopen, connection)

    def _reopen(self, connection: OpenConnection) -> None:
        if connection.is_open:
            self._reopening = asyncio.ensure_future(self._open_again(connection))

    async def _open_again(self, connection: OpenConnection) -> None:
        try:
            await self.open(connection)
        except (FleetError, asyncio.TimeoutError) as error:
            LOG.error("cannot_publish", error=str(error))
            connection.close()

    def _refuse_all(self, why: str) -> None:
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        self._returned.clear()
        for _message_id, refused in unconfirmed.values():
            refused(why)
