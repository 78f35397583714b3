# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many requests wait in the lanes at the broker, whoever sent them: asked while somebody looks at the page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional

from .._fleet.errors import FleetError
from .open_connection import OpenConnection

#: Seconds for which an answer of the broker holds.
FRESH = 4.0

#: Lanes that are asked for at most: one takes the broker about a millisecond.
MOST = 200


class LaneDepths:
    """Asks the broker on channels of its own, beside what the connection is for. For one event loop.

    It declares a queue passively, which needs no permission; a queue that is not there costs the channel, and a new one
    is opened for the next.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._connection: Optional[OpenConnection] = None
        self._depths: dict[str, int] = {}
        self._asked = float("-inf")
        self._asking: Optional[asyncio.Future[None]] = None

    def use(self, connection: OpenConnection) -> None:
        """Ask by this connection from now on."""
        self._connection = connection

    def drop(self) -> None:
        """The connection is gone, and with it what is known."""
        self._connection = None
        self._depths = {}
        self._asked = float("-inf")

    def latest(self, queues: Iterable[str]) -> Mapping[str, int]:
        """Return what is known, and have the broker asked when that is too old. Queues that are unknown are missing."""
        connection = self._connection
        is_busy = self._asking is not None and not self._asking.done()
        if connection is not None and not is_busy and self._clock() - self._asked > FRESH:
            self._asked = self._clock()
            self._asking = asyncio.ensure_future(self._ask(connection, sorted(set(queues))[:MOST]))
        return self._depths

    async def _ask(self, connection: OpenConnection, queues: list[str]) -> None:
        found: dict[str, int] = {}
        channel: Any = None
        for queue in queues:
            try:
                if channel is None:
                    channel = await connection.channel()
                found[queue] = await self._depth(connection, channel, queue)
            except (FleetError, asyncio.TimeoutError):
                channel = None
            if connection is not self._connection:
                return
        self._depths = found
        if channel is not None and channel.is_open:
            channel.close()

    @staticmethod
    async def _depth(connection: OpenConnection, channel: Any, queue: str) -> int:
        answer = await connection.do(channel, lambda done: channel.queue_declare(queue, passive=True, callback=done))
        return int(answer.method.message_count)
