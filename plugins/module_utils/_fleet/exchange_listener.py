# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Reads the messages published to exchanges."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Callable

from .broker_connection import BrokerConnection
from .messages import Message
from .pika_messages import from_pika
from .reply_channel import reply_queue_name

#: Seconds between two checks whether to stop.
_LOOK_AGAIN = 0.5


def listen(
    connection: BrokerConnection,
    bindings: Sequence[tuple[str, str]],
    seconds: float,
    take: Callable[[Message], None],
    stopped: Callable[[], bool] = lambda: False,
    listening: Callable[[], None] = lambda: None,
) -> None:
    """Read the messages published to topic exchanges for some time.

    :param bindings: each an exchange and a binding key.
    :param seconds: how long; infinity to listen until ``stopped`` returns True.
    :param take: called in this thread with each message.
    :param listening: called once, when every message published from then on arrives.
    :raises ExchangeMissingError: if an exchange does not exist.
    :raises BrokerForbiddenError: without the right to read from an exchange, or to have a queue ``llm.fleet.reply.*``.
    :raises BrokerError: if the connection is lost.
    """
    queue = reply_queue_name()
    done: list[Any] = []
    received: deque[Message] = deque()
    channel = connection.open_channel()
    noticed = connection.noticing(done.append)
    channel.queue_declare(queue, exclusive=True, auto_delete=True, callback=noticed)
    steps = 2
    for exchange, key in bindings:
        channel.queue_bind(queue, exchange, key, callback=noticed)
        steps += 1

    def arrived(_channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        received.append(from_pika(properties, body))

    connection.consume(channel, queue, arrived, done.append)
    names = ", ".join(sorted({exchange for exchange, _key in bindings}))
    connection.require_step(lambda: len(done) == steps, f"listen to {names}")
    listening()

    def never() -> bool:
        while received:
            take(received.popleft())
        return stopped()

    deadline = time.monotonic() + seconds
    while not never() and connection.gone is None and time.monotonic() < deadline:
        connection.wait_until(never, min(_LOOK_AGAIN, deadline - time.monotonic()))
    connection.require_open()
    channel.close()
