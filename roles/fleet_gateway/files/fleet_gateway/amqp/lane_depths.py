# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The number of requests that wait at the broker in each lane, from all requesters. Only the page needs it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional

from .._fleet.errors import FleetError
from .open_connection import OpenConnection

#: Seconds until a number is too old.
FRESH = 4.0

#: The most lanes of one round; the broker needs about a millisecond for each.
MOST = 200


class LaneDepths:
    """Asks the broker for the numbers, on channels of its own. For one event loop.

    A passive declaration returns the number, and needs no permission. For a missing queue the broker closes the
    channel, so the next question opens another one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._connection: Optional[OpenConnection] = None
        self._depths: dict[str, int] = {}
        self._asked = float("-inf")
        self._asking: Optional[asyncio.Future[None]] = None

    def use(self, connection: OpenConnection) -> None:
        """Use a new connection."""
        self._connection = connection

    def drop(self) -> None:
        """Forget the lost connection, and the numbers."""
        self._connection = None
        self._depths = {}
        self._asked = float("-inf")

    def latest(self, queues: Iterable[str]) -> Mapping[str, int]:
        """Return the known numbers; if they are too old, ask the broker in the background."""
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
