# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands to the broker that can be awaited. pika's own calls return at once, and call back later or never."""

from __future__ import annotations

import asyncio
from typing import Any, Callable

from pika.exceptions import AMQPError, ChannelClosedByBroker

from .._fleet.broker import Address, BrokerSettings, channel_error, connection_error, parameters
from .._fleet.errors import FleetError
from ..logs.log import Log
from .connection import Connection

LOG = Log()

#: The most seconds for each command. The broker usually answers in milliseconds.
STEP_TIMEOUT = 15.0


class OpenConnection:
    """An open connection to the broker. For one event loop.

    :param lost: receives the reason when the connection is lost.
    :ivar blocked: the broker's reason while it takes no messages; empty while it does.
    """

    def __init__(self, connection: Connection, settings: BrokerSettings, lost: asyncio.Future[str]) -> None:
        self._connection = connection
        self._settings = settings
        self.lost = lost
        self.blocked = ""
        connection.add_on_connection_blocked_callback(lambda _connection, frame: self._block(frame.method.reason))
        connection.add_on_connection_unblocked_callback(lambda _connection, _frame: self._unblock())

    @property
    def is_open(self) -> bool:
        return bool(self._connection.is_open)

    def close(self) -> None:
        """Begin to close the connection, if it is open."""
        if self._connection.is_open:
            self._connection.close()

    async def channel(self) -> Any:
        """Return a new channel.

        :raises FleetError: if the broker opens no channel, or the connection is lost.
        :raises asyncio.TimeoutError: if the broker does not answer.
        """
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        channel = self._sent(
            lambda: self._connection.channel(
                on_open_callback=lambda made: None if opened.done() else opened.set_result(made)
            )
        )
        self._fail_with(channel, opened)
        return await asyncio.wait_for(opened, STEP_TIMEOUT)

    async def do(self, channel: Any, begin: Callable[[Callable[[Any], None]], Any]) -> Any:
        """Run a command on a channel, and return the broker's answer.

        :param begin: sends the command; receives the callback for the answer.
        :raises FleetError: if the broker refuses the command, or the channel is lost.
        :raises asyncio.TimeoutError: if the broker does not answer.
        """
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._sent(lambda: begin(lambda frame: None if done.done() else done.set_result(frame)))
        self._fail_with(channel, done)
        return await asyncio.wait_for(done, STEP_TIMEOUT)

    def error_of(self, error: BaseException) -> FleetError:
        """Return the error that explains the end of a channel."""
        if isinstance(error, ChannelClosedByBroker):
            return channel_error(error.reply_code, error.reply_text, self._settings)
        return FleetError(f"The connection to the broker was lost: {error}")

    def _block(self, reason: str) -> None:
        self.blocked = reason or "no reason given"
        LOG.warning("broker_blocked", reason=self.blocked)

    def _unblock(self) -> None:
        self.blocked = ""
        LOG.info("broker_unblocked")

    def _sent(self, send: Callable[[], Any]) -> Any:
        """Send a command, and return pika's result.

        pika raises an error if the broker has closed the connection or the channel together with its last answer, or
        if the broker does not have the command.
        """
        try:
            return send()
        except AMQPError as error:
            reason = self.lost.result() if self.lost.done() else f"The broker cannot get a command: {error}"
            raise FleetError(reason) from error

    def _fail_with(self, channel: Any, waits: asyncio.Future[Any]) -> None:
        def closed(_channel: Any, error: BaseException) -> None:
            if not waits.done():
                waits.set_exception(self.error_of(error))

        channel.add_on_close_callback(closed)


async def connected(settings: BrokerSettings, address: Address) -> OpenConnection:
    """Connect to an address.

    :raises FleetError: if the connection fails.
    :raises asyncio.TimeoutError: if nobody answers there.
    """
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[Any] = loop.create_future()
    lost: asyncio.Future[str] = loop.create_future()

    def failed(_connection: Any, error: BaseException) -> None:
        if not opened.done():
            opened.set_exception(connection_error(error, settings, address))

    def closed(_connection: Any, error: BaseException) -> None:
        failed(_connection, error)
        if not lost.done():
            lost.set_result(connection_error(error, settings, address).message)

    connection = Connection(
        parameters(settings, address),
        loop,
        # Close a connection that opens after the wait has ended.
        on_open_callback=lambda made: made.close() if opened.done() else opened.set_result(made),
        on_open_error_callback=failed,
        on_close_callback=closed,
    )
    try:
        await asyncio.wait_for(opened, 2 * STEP_TIMEOUT)
    except BaseException:
        if connection.is_open:
            connection.close()
        raise
    return OpenConnection(connection, settings, lost)
