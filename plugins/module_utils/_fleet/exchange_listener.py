# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Reads the messages published to an exchange."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable

from .broker_connection import BrokerConnection
from .messages import Message
from .pika_messages import from_pika
from .reply_channel import reply_queue_name


def listen(
    connection: BrokerConnection, exchange: str, binding_key: str, seconds: float, take: Callable[[Message], None]
) -> None:
    """Read the messages published to a topic exchange for some time.

    :param take: called in this thread with each message.
    :raises ExchangeMissingError: if there is no such exchange.
    :raises BrokerForbiddenError: without the right to read from the exchange, or to have a queue ``llm.fleet.reply.*``.
    """
    queue = reply_queue_name()
    done: list[Any] = []
    received: deque[Message] = deque()
    channel = connection.open_channel()
    noticed = connection.noticing(done.append)
    channel.queue_declare(queue, exclusive=True, auto_delete=True, callback=noticed)
    channel.queue_bind(queue, exchange, binding_key, callback=noticed)

    def arrived(_channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        received.append(from_pika(properties, body))

    channel.basic_consume(queue, connection.noticing(arrived), auto_ack=True, callback=noticed)
    connection.require_step(lambda: len(done) == 3, f"listen to the exchange {exchange}")

    def never() -> bool:
        while received:
            take(received.popleft())
        return False

    connection.wait_until(never, seconds)
    connection.require_open()
    channel.close()
