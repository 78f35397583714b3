# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An in-memory broker in place of pika's connection. Real brokers answer in tests/integration/fleet."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Callable, Optional

import pika
import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import Message
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.pika_messages import from_pika, to_pika
from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic

Answers = Callable[[Message], Iterator[Message]]


class MemoryBroker:
    """What the broker has, and how it behaves.

    :ivar queues: messages and consumers of each queue that a passive declaration finds.
    :ivar exchanges: those that exist.
    :ivar answers: what the other side says to a message.
    :ivar takes: ``confirm``, ``refuse``, ``return`` or ``silence``: the outcome of a message.
    :ivar unreachable: hosts that take no connection.
    :ivar refuses_to: the operations that the broker never answers; it cancels a consumer with ``consume``.
    :ivar hidden: the queues whose state the broker does not tell this user, and the code of its refusal.
    """

    def __init__(self) -> None:
        self.queues: dict[str, tuple[int, int]] = {}
        self.exchanges = {"llm.request", "llm.registry", "ollama.s3_models"}
        self.answers: Answers = lambda _message: iter(())
        self.takes = "confirm"
        self.unreachable: set[str] = set()
        self.refuses_to: set[str] = set()
        self.hidden: dict[str, int] = {}
        self.published: list[tuple[str, str, Message]] = []
        self.connection: Any = None

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of pika's connection."""
        broker = self

        class Connection(_Connection):
            def __init__(self, parameters: Any, **callbacks: Any) -> None:
                super().__init__(broker, parameters, **callbacks)

        patch.setattr(pika, "SelectConnection", Connection)


class _Connection:
    def __init__(
        self,
        broker: MemoryBroker,
        parameters: Any,
        *,
        on_open_callback: Callable[..., None],
        on_open_error_callback: Callable[..., None],
        on_close_callback: Callable[..., None],
        custom_ioloop: Any,
    ) -> None:
        self.broker = broker
        self.loop = custom_ioloop
        self.is_open, self.is_closed = True, False
        self.server_properties = {"product": "RabbitMQ", "version": "4.0.5", "copyright": b"\xff"}
        self._on_close = on_close_callback
        broker.connection = self
        if parameters.host in broker.unreachable:
            self.soon(on_open_error_callback, self, ConnectionRefusedError(111, "Connection refused"))
        else:
            self.soon(on_open_callback, self)

    def soon(self, callback: Optional[Callable[..., None]], *arguments: Any) -> None:
        if callback is not None:
            self.loop.add_callback(lambda: callback(*arguments))

    def channel(self, on_open_callback: Callable[..., None]) -> _Channel:
        made = _Channel(self)
        if "open a channel" not in self.broker.refuses_to:
            self.soon(on_open_callback, made)
        return made

    def lose(self, error: BaseException) -> None:
        """End, as if the broker were gone."""
        self.is_open, self.is_closed = False, True
        self.soon(self._on_close, self, error)

    def close(self) -> None:
        self.lose(ConnectionResetError("closed"))


class _Channel:
    def __init__(self, connection: _Connection) -> None:
        self.connection, self.broker = connection, connection.broker
        self.number = 0
        self.confirmed: Callable[..., None]
        self.returned: Callable[..., None]
        self.closed: list[Callable[..., None]] = []
        self.cancelled: list[Callable[..., None]] = []
        self.consumers: dict[str, Callable[..., None]] = {}

    def add_on_close_callback(self, callback: Callable[..., None]) -> None:
        self.closed.append(callback)

    def add_on_cancel_callback(self, callback: Callable[..., None]) -> None:
        self.cancelled.append(callback)

    def add_on_return_callback(self, callback: Callable[..., None]) -> None:
        self.returned = callback

    def confirm_delivery(self, ack_nack_callback: Callable[..., None], callback: Callable[..., None]) -> None:
        self.confirmed = ack_nack_callback
        self.connection.soon(callback, None)

    def queue_declare(self, queue: str, callback: Callable[..., None], passive: bool = False, **_options: Any) -> None:
        if passive and queue in self.broker.hidden:
            self.close_by_broker(self.broker.hidden[queue], f"access to queue '{queue}' refused")
            return
        if passive and queue not in self.broker.queues:
            self.close_by_broker(404, f"NOT_FOUND - no queue '{queue}' in vhost '/'")
            return
        messages, consumers = self.broker.queues.get(queue, (0, 0))
        method = SimpleNamespace(message_count=messages, consumer_count=consumers)
        self.connection.soon(callback, SimpleNamespace(method=method))

    def queue_bind(self, queue: str, exchange: str, routing_key: str, callback: Callable[..., None]) -> None:
        if exchange not in self.broker.exchanges:
            self.close_by_broker(404, f"NOT_FOUND - no exchange '{exchange}' in vhost '/'")
            return
        self.connection.soon(callback, None)

    def basic_consume(
        self, queue: str, on_message: Callable[..., None], auto_ack: bool, callback: Callable[..., None]
    ) -> None:
        self.consumers[queue] = on_message
        if "consume" in self.broker.refuses_to:
            for cancelled in self.cancelled:
                self.connection.soon(cancelled, None)
        self.connection.soon(callback, None)
        if queue.startswith("llm.fleet.reply."):
            for message in self.broker.answers(Message(from_pika(pika.BasicProperties(), b"").properties, {}, b"")):
                self.connection.soon(on_message, self, None, to_pika(message), message.body)

    def basic_publish(self, exchange: str, routing_key: str, body: bytes, properties: Any, mandatory: bool) -> None:
        assert mandatory
        self.number += 1
        message = from_pika(properties, body)
        self.broker.published.append((exchange, routing_key, message))
        takes = self.broker.takes
        if takes == "silence":
            return
        if takes == "return":
            self.connection.soon(self.returned, self, None, properties, body)
        kind = Basic.Nack if takes == "refuse" else Basic.Ack
        frame = SimpleNamespace(method=kind(delivery_tag=self.number, multiple=False))
        if takes == "confirm":
            for answer in self.broker.answers(message):
                self.connection.soon(
                    self.consumers[message.properties.reply_to], self, None, to_pika(answer), answer.body
                )
        self.connection.soon(self.confirmed, frame)

    def close_by_broker(self, code: int, text: str) -> None:
        for callback in self.closed:
            self.connection.soon(callback, self, ChannelClosedByBroker(code, text))

    def close(self) -> None:
        pass
