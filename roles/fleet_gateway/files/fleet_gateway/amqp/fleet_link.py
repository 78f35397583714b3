# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's connection to the broker: requests go out by it, answers and registry events come in.

It is made again whenever it is lost. The reply queue belongs to the connection, so that whatever was under way when it
was lost is over, and its clients get an error.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Callable, Optional

from pika.exceptions import ChannelClosedByBroker

from .._fleet.broker import Address, BrokerSettings, channel_error, connection_error, parameters
from .._fleet.control import cancellation
from .._fleet.errors import FleetError
from .._fleet.messages import Message
from .._fleet.pika_messages import confirmed_tags, from_pika, to_pika
from .._fleet.registry import EXCHANGE as REGISTRY
from .._ollama.retry import RetryPolicy
from ..logs.log import Log
from .connection import Connection

LOG = Log()

#: The pauses between two tries to connect: 0.25 to 0.5 s at first, doubled each time, 10 s at most.
PAUSES = RetryPolicy(base=0.5, cap=10.0)

#: Seconds for each step of coming up: the broker answers in milliseconds.
STEP_TIMEOUT = 15.0

#: Seconds until a channel is opened again that the broker has closed.
RETRY_CHANNEL = 1.0

#: Registry events that wait for a gateway that does not read: the newest count.
MAX_EVENTS = 10_000

#: Why a request is not on its way: no queue has its lane's name, its queue is full, or the broker does not take it.
UNROUTABLE, FULL, UNACCEPTABLE, LOST = "unroutable", "full", "unacceptable", "lost"

Refused = Callable[[str], None]


class FleetLink:
    """Publishes requests and hears answers. For one event loop.

    :param exchange: that the lanes are bound to.
    :param heard: called with each message that comes to the reply queue.
    :param told: called with each registry event.
    :param changed: called with no arguments when the connection has come or gone.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        exchange: str,
        *,
        heard: Callable[[Message], None],
        told: Callable[[Message], None],
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._exchange = exchange
        self._heard = heard
        self._told = told
        self._changed = changed
        self._connection: Optional[Connection] = None
        self._publishing: Any = None
        self._cancelling: Any = None
        self._tag = 0
        #: What each unconfirmed request calls when it is refused, by its delivery tag; and the tags by message id.
        self._unconfirmed: dict[int, tuple[str, Refused]] = {}
        self._returned: set[str] = set()
        self._lost: Optional[asyncio.Future[None]] = None
        self._reopening: Optional[asyncio.Future[None]] = None
        self._closing = False
        self.reply_queue = ""
        self.trouble = "not connected yet"

    @property
    def is_up(self) -> bool:
        """Whether requests can be published."""
        return self._publishing is not None and bool(self._publishing.is_open)

    async def run(self) -> None:
        """Connect, and connect again when the connection is lost, until :meth:`close`."""
        failures = 0
        while not self._closing:
            for address in self._settings.addresses:
                try:
                    await self._connect(address)
                except FleetError as error:
                    self.trouble = error.message
                    if failures % 20 == 0:
                        LOG.error("cannot_connect", error=str(error))
                    await self._drop()
                    continue
                except asyncio.TimeoutError:
                    self.trouble = f"{address} does not answer in time"
                    await self._drop()
                    continue
                failures = 0
                self.trouble = ""
                LOG.info("connected", broker=str(address))
                self._changed()
                await self._until_lost()
                break
            if not self._closing:
                failures += 1
                await asyncio.sleep(PAUSES.delay(min(failures, 20)))

    def publish(self, message: Message, routing_key: str, refused: Refused) -> None:
        """Send a request.

        :param refused: called with the reason when it is not on its way after all.
        """
        if not self.is_up:
            refused(LOST)
            return
        try:
            self._publishing.basic_publish(self._exchange, routing_key, message.body, to_pika(message), mandatory=True)
        except Exception:
            LOG.exception("cannot_publish", lane=routing_key)
            refused(UNACCEPTABLE)
            return
        self._tag += 1
        self._unconfirmed[self._tag] = (str(message.properties.message_id), refused)

    def cancel(self, nodes: Iterable[str], correlation_id: str) -> None:
        """Take a request back from every node that may have it."""
        if self._cancelling is None or not self._cancelling.is_open:
            return
        for node in nodes:
            reply = cancellation(node, correlation_id)
            with suppress(Exception):  # whatever it is, the request ends at its deadline
                self._cancelling.basic_publish(reply.exchange, reply.routing_key, b"", to_pika(reply.message))

    async def close(self) -> None:
        """End the connection."""
        self._closing = True
        connection = self._connection
        if connection is not None and connection.is_open:
            connection.close()
            if self._lost is not None:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(asyncio.shield(self._lost), 5)

    # Connecting

    async def _connect(self, address: Address) -> None:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Any] = loop.create_future()
        self._lost = loop.create_future()
        lost = self._lost

        def failed(_connection: Any, error: BaseException) -> None:
            if not opened.done():
                opened.set_exception(connection_error(error, self._settings, address))

        def closed(_connection: Any, error: BaseException) -> None:
            failed(_connection, error)
            if not lost.done():
                self.trouble = connection_error(error, self._settings, address).message
                lost.set_result(None)

        self._connection = connection = Connection(
            parameters(self._settings, address),
            loop,
            on_open_callback=lambda connection: None if opened.done() else opened.set_result(connection),
            on_open_error_callback=failed,
            on_close_callback=closed,
        )
        await asyncio.wait_for(opened, 2 * STEP_TIMEOUT)
        opened.exception()
        await self._open_reply_queue(connection)
        await self._open_registry_queue(connection)
        await self._open_publishing(connection)
        await self._open_cancelling(connection)

    async def _channel(self, connection: Connection) -> Any:
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        channel = connection.channel(on_open_callback=lambda made: None if opened.done() else opened.set_result(made))

        def closed(_channel: Any, error: BaseException) -> None:
            if not opened.done():
                opened.set_exception(self._error_of(error))

        channel.add_on_close_callback(closed)
        return await asyncio.wait_for(opened, STEP_TIMEOUT)

    async def _step(self, channel: Any, begin: Callable[[Callable[[Any], None]], Any]) -> Any:
        """Do one thing on a channel and wait for the broker's answer.

        :raises FleetError: when the broker refuses it.
        """
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def closed(_channel: Any, error: BaseException) -> None:
            if not done.done():
                done.set_exception(self._error_of(error))

        channel.add_on_close_callback(closed)
        begin(lambda frame: None if done.done() else done.set_result(frame))
        return await asyncio.wait_for(done, STEP_TIMEOUT)

    def _error_of(self, error: BaseException) -> FleetError:
        if isinstance(error, ChannelClosedByBroker):
            return channel_error(error.reply_code, error.reply_text, self._settings)
        return FleetError(f"The connection to the broker was lost: {error}")

    async def _open_reply_queue(self, connection: Connection) -> None:
        channel = await self._channel(connection)
        queue = f"llm.fleet.reply.gw-{uuid.uuid4().hex[:16]}"
        await self._step(
            channel, lambda done: channel.queue_declare(queue, exclusive=True, auto_delete=True, callback=done)
        )

        def arrived(_channel: Any, _method: Any, properties: Any, body: bytes) -> None:
            try:
                self._heard(from_pika(properties, body))
            except Exception:
                LOG.exception("defect", queue="replies")

        await self._step(channel, lambda done: channel.basic_consume(queue, arrived, auto_ack=True, callback=done))
        channel.add_on_close_callback(lambda _channel, _error: self._give_up())
        self.reply_queue = queue

    async def _open_registry_queue(self, connection: Connection) -> None:
        channel = await self._channel(connection)
        queue = f"llm.fleet.reply.gw-{uuid.uuid4().hex[:16]}"
        bound = {"x-max-length": MAX_EVENTS}
        await self._step(
            channel,
            lambda done: channel.queue_declare(queue, exclusive=True, auto_delete=True, arguments=bound, callback=done),
        )
        await self._step(channel, lambda done: channel.queue_bind(queue, REGISTRY, "llm.registry.#", callback=done))

        def arrived(_channel: Any, _method: Any, properties: Any, body: bytes) -> None:
            try:
                self._told(from_pika(properties, body))
            except Exception:
                LOG.exception("defect", queue="registry")

        await self._step(channel, lambda done: channel.basic_consume(queue, arrived, auto_ack=True, callback=done))
        channel.add_on_close_callback(lambda _channel, _error: self._give_up())

    async def _open_publishing(self, connection: Connection) -> None:
        channel = await self._channel(connection)
        await self._step(channel, lambda done: channel.confirm_delivery(self._confirmed, callback=done))
        channel.add_on_return_callback(self._on_returned)
        channel.add_on_close_callback(self._publishing_closed)
        self._tag = 0
        self._publishing = channel

    async def _open_cancelling(self, connection: Connection) -> None:
        self._cancelling = await self._channel(connection)

        def closed(_channel: Any, error: BaseException) -> None:
            if isinstance(error, ChannelClosedByBroker):
                LOG.warning("cannot_cancel", error=str(self._error_of(error)), remedy="let it write to amq.default")

        self._cancelling.add_on_close_callback(closed)

    # Frames from the broker

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

    def _publishing_closed(self, _channel: Any, error: BaseException) -> None:
        self._publishing = None
        self._refuse_all(UNACCEPTABLE)
        connection = self._connection
        if isinstance(error, ChannelClosedByBroker) and connection is not None and connection.is_open:
            LOG.error("channel_closed", error=str(self._error_of(error)))
            asyncio.get_running_loop().call_later(RETRY_CHANNEL, self._reopen, connection)

    def _reopen(self, connection: Connection) -> None:
        if connection is self._connection and connection.is_open and not self._closing:
            self._reopening = asyncio.ensure_future(self._open_again(connection))

    async def _open_again(self, connection: Connection) -> None:
        try:
            await self._open_publishing(connection)
        except (FleetError, asyncio.TimeoutError) as error:
            LOG.error("cannot_publish", error=str(error))
            self._give_up()

    def _give_up(self) -> None:
        """Without its queues the connection is of no use; it is made anew."""
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    async def _until_lost(self) -> None:
        if self._lost is not None:
            await self._lost
        await self._drop()
        if not self._closing:
            LOG.warning("connection_lost", error=self.trouble)
        self._changed()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._publishing = self._cancelling = None
        self.reply_queue = ""
        self._refuse_all(LOST)
        self._returned.clear()
        if connection is not None and connection.is_open:
            connection.close()

    def _refuse_all(self, why: str) -> None:
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for _message_id, refused in unconfirmed.values():
            refused(why)
