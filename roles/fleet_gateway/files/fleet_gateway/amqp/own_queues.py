# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's own queues: one for replies, one for registry events."""

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

#: The most registry events that wait for a slow gateway. The broker drops the oldest, which newer events replace.
MAX_EVENTS = 10_000

OnMessage = Callable[[Message], None]


async def consume_replies(connection: OpenConnection, on_reply: OnMessage) -> str:
    """Declare and consume the queue for replies; return its name.

    :raises FleetError: if the broker refuses.
    :raises asyncio.TimeoutError: if the broker does not answer.
    """
    queue, channel = await _declare(connection)
    await _consume(connection, channel, queue, on_reply)
    return queue


async def consume_registry(connection: OpenConnection, on_event: OnMessage) -> None:
    """Declare, bind and consume the queue for registry events.

    :raises FleetError: if the broker refuses.
    :raises asyncio.TimeoutError: if the broker does not answer.
    """
    queue, channel = await _declare(connection, {"x-max-length": MAX_EVENTS})
    await connection.do(channel, lambda done: channel.queue_bind(queue, REGISTRY, EVERYTHING, callback=done))
    await _consume(connection, channel, queue, on_event)


async def _declare(connection: OpenConnection, arguments: Optional[dict[str, Any]] = None) -> tuple[str, Any]:
    channel = await connection.channel()
    queue = f"llm.fleet.reply.gw-{uuid.uuid4().hex[:16]}"
    await connection.do(
        channel,
        lambda done: channel.queue_declare(queue, exclusive=True, auto_delete=True, arguments=arguments, callback=done),
    )
    return queue, channel


async def _consume(connection: OpenConnection, channel: Any, queue: str, on_message: OnMessage) -> None:
    def deliver(_channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        try:
            on_message(from_pika(properties, body))
        except Exception:
            LOG.exception("defect", queue=queue)

    def cancelled(_frame: Any) -> None:
        LOG.warning("queue_lost", queue=queue)  # somebody has deleted the queue
        connection.close()

    # A connection without its queues is useless; closing it makes the gateway reconnect, and declare them again.
    channel.add_on_close_callback(lambda _channel, _error: connection.close())
    channel.add_on_cancel_callback(cancelled)
    await connection.do(channel, lambda done: channel.basic_consume(queue, deliver, auto_ack=True, callback=done))
