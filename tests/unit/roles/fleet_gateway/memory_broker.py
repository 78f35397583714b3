# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A broker in memory, at the level of pika."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from fleet_gateway._fleet.broker import BrokerSettings
from fleet_gateway.amqp import open_connection
from fleet_gateway.amqp.open_connection import OpenConnection, connected
from pika.exceptions import (
    ChannelClosedByBroker,
    ChannelWrongStateError,
    ConnectionWrongStateError,
    MethodNotImplemented,
)

REFUSAL = ChannelClosedByBroker(403, "ACCESS_REFUSED - access refused")


class BrokerChannel:
    """A channel whose broker answers in the next turn of the loop.

    :ivar published: exchange and routing key of each message.
    :ivar messages: body, properties and options of each message.
    :ivar declared: name and options of each declared queue.
    :ivar bound: queue, exchange and routing key of each binding.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.is_open = True
        self.closed: list[Callable[..., None]] = []
        self.cancelled: list[Callable[..., None]] = []
        self.returned: list[Callable[..., None]] = []
        self.confirmed: Any = None
        self.published: list[tuple[str, str]] = []
        self.messages: list[tuple[bytes, Any, dict[str, Any]]] = []
        self.declared: list[tuple[str, dict[str, Any]]] = []
        self.bound: list[tuple[str, str, str]] = []

    def _later(self, what: str, callback: Callable[[Any], None]) -> None:
        if not self.is_open:
            raise ChannelWrongStateError("Channel is closed.")

        def answer() -> None:
            callback(None)
            if what in self._broker.last:
                self._broker.connections[-1].lose()

        loop = asyncio.get_running_loop()
        if what in self._broker.silent:
            return
        loop.call_soon(self.end) if what in self._broker.refused else loop.call_soon(answer)

    def add_on_close_callback(self, callback: Callable[..., None]) -> None:
        self.closed.append(callback)

    def add_on_cancel_callback(self, callback: Callable[..., None]) -> None:
        self.cancelled.append(callback)

    def add_on_return_callback(self, callback: Callable[..., None]) -> None:
        self.returned.append(callback)

    def confirm_delivery(self, confirmed: Any, callback: Callable[[Any], None]) -> None:
        if not self._broker.has_confirms:
            raise MethodNotImplemented("Confirm.Select not Supported by Server")
        self.confirmed = confirmed
        self._later("confirms", callback)

    def queue_declare(self, queue: str, callback: Callable[[Any], None], **options: Any) -> None:
        self.declared.append((queue, options))
        self._later("declare", callback)

    def queue_bind(self, queue: str, exchange: str, key: str, callback: Callable[[Any], None]) -> None:
        self.bound.append((queue, exchange, key))
        self._later(exchange, callback)

    def basic_consume(self, queue: str, arrived: Any, callback: Callable[[Any], None], **_options: Any) -> None:
        self._broker.consumers.append((queue, arrived))
        self._later("consume", callback)

    def basic_publish(self, exchange: str, routing_key: str, body: bytes, properties: Any, **options: Any) -> None:
        if routing_key == "odd":
            raise ValueError("cannot be written")
        self.published.append((exchange, routing_key))
        self.messages.append((body, properties, options))

    def end(self, error: BaseException = REFUSAL) -> None:
        self.is_open = False
        for callback in self.closed:
            callback(self, error)


class MemoryBroker:
    """A broker at pika's level.

    :ivar refused: what it refuses: ``connect``, ``confirms``, ``declare``, ``consume`` or an exchange to bind to.
    :ivar silent: what it never answers.
    :ivar last: what it answers with its last words before it closes the connection.
    """

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.silent: set[str] = set()
        self.last: set[str] = set()
        self.has_confirms = True
        self.consumers: list[tuple[str, Any]] = []
        self.connections: list[BrokerConnection] = []

    @property
    def publishing(self) -> BrokerChannel:
        """The newest channel with confirms."""
        return [channel for channel in self.connections[-1].channels if channel.confirmed is not None][-1]


class BrokerConnection:
    def __init__(self, broker: MemoryBroker, _parameters: Any, loop: Any, **callbacks: Any) -> None:
        self._broker = broker
        self._callbacks = callbacks
        self.channels: list[BrokerChannel] = []
        self.is_open = False
        broker.connections.append(self)
        if "connect" in broker.refused:
            loop.call_soon(callbacks["on_open_error_callback"], self, OSError("refused"))
        elif "connect" not in broker.silent:
            loop.call_soon(self._opened)

    def _opened(self) -> None:
        self.is_open = True
        self._callbacks["on_open_callback"](self)

    def channel(self, on_open_callback: Callable[[Any], None]) -> BrokerChannel:
        if not self.is_open:
            raise ConnectionWrongStateError("Channel allocation requires an open connection")
        channel = BrokerChannel(self._broker)
        self.channels.append(channel)
        channel._later("channel", lambda _frame: on_open_callback(channel))
        return channel

    def add_on_connection_blocked_callback(self, callback: Callable[..., None]) -> None:
        self.blocked = callback

    def add_on_connection_unblocked_callback(self, callback: Callable[..., None]) -> None:
        self.unblocked = callback

    def close(self) -> None:
        if self.is_open:
            asyncio.get_running_loop().call_soon(self.lose)

    def lose(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        for channel in self.channels:
            if channel.is_open:
                channel.end(OSError("gone"))
        self._callbacks["on_close_callback"](self, OSError("gone"))


def stand_in(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return a broker to which every connection of the gateway leads; no pause is long."""
    made = MemoryBroker()
    monkeypatch.setattr(open_connection, "Connection", lambda *given, **more: BrokerConnection(made, *given, **more))
    monkeypatch.setattr(open_connection, "STEP_TIMEOUT", 0.05)
    monkeypatch.setattr("fleet_gateway.amqp.request_publisher.RETRY_CHANNEL", 0.01)
    monkeypatch.setattr("fleet_gateway.amqp.reconnecting.PAUSES", SimpleNamespace(delay=lambda _failures: 0.01))
    return made


async def opened() -> OpenConnection:
    """Connect to the broker."""
    settings = BrokerSettings.from_url("amqp://user:secret@hub")
    return await connected(settings, settings.addresses[0])


async def until(true: Callable[[], Any]) -> None:
    """Wait for a condition."""
    for _turn in range(1000):
        if true():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the condition never held")
