# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queues of this gateway alone: answers come by one, registry events by another."""

from __future__ import annotations

import uuid
from typing import Any, Callable, Optional

from .._fleet.messages import Message
from .._fleet.pika_messages import from_pika
from .._fleet.registry import EVERYTHING
from .._fleet.registry import EXCHANGE as REGISTRY
from ..logs.log import Log
from .open_connection import OpenConnection

LOG = Log()

#: Registry events that wait for a gateway that does not read: the newest count.
MAX_EVENTS = 10_000

Heard = Callable[[Message], None]


async def reply_queue(connection: OpenConnection, heard: Heard) -> str:
    """Make the queue for answers; return its name.

    :param heard: called with each message.
    :raises FleetError: when the broker refuses that.
    :raises asyncio.TimeoutError: when it does not answer.
    """
    queue, channel = await _declared(connection)
    await _consumed(connection, channel, queue, heard)
    return queue


async def registry_queue(connection: OpenConnection, told: Heard) -> None:
    """Make the queue for registry events; as :func:`reply_queue`."""
    queue, channel = await _declared(connection, {"x-max-length": MAX_EVENTS})
    await connection.do(channel, lambda done: channel.queue_bind(queue, REGISTRY, EVERYTHING, callback=done))
    await _consumed(connection, channel, queue, told)


async def _declared(connection: OpenConnection, arguments: Optional[dict[str, Any]] = None) -> tuple[str, Any]:
    channel = await connection.channel()
    queue = f"llm.fleet.reply.gw-{uuid.uuid4().hex[:16]}"
    await connection.do(
        channel,
        lambda done: channel.queue_declare(queue, exclusive=True, auto_delete=True, arguments=arguments, callback=done),
    )
    return queue, channel


async def _consumed(connection: OpenConnection, channel: Any, queue: str, heard: Heard) -> None:
    def arrived(_channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        try:
            heard(from_pika(properties, body))
        except Exception:
            LOG.exception("defect", queue=queue)

    await connection.do(channel, lambda done: channel.basic_consume(queue, arrived, auto_ack=True, callback=done))
    # A connection without its queues is useless: close it, and connect again.
    channel.add_on_close_callback(lambda _channel, _error: connection.close())
