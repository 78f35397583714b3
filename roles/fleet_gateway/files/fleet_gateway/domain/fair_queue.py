# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of the requests that wait for a lane, fair to their keys.

The gateway publishes only about as many requests to a lane as its nodes have slots. The rest waits here, where their
order can still change. The broker's queue is first in, first out, so 500 requests of one key would delay all other
keys. Next is a request of the key that has been served least in proportion to its weight (start-time fair queuing). The
requests of one key keep their order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Callable


class QueueFullError(Exception):
    """Too many requests wait.

    :ivar waiting: the number of waiting requests.
    """

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting} requests wait already")
        self.waiting = waiting


class _Waiting:
    def __init__(self, key: str, weight: float, future: asyncio.Future[None]) -> None:
        self.key = key
        self.weight = weight
        self.future = future


class FairQueue:
    """The requests of one lane. For one event loop.

    :param room: returns the number of requests that may be published and unanswered at a time.
    :param most: the most requests that may wait.
    :ivar out: the number of published, unanswered requests.
    """

    def __init__(self, room: Callable[[], int], most: int) -> None:
        self._room = room
        self._most = most
        self._keys: dict[str, deque[_Waiting]] = {}
        #: The requests that each key has had, divided by its weight; ``_now`` is this number of the last served key.
        self._had: dict[str, float] = {}
        self._now = 0.0
        self.out = 0

    @property
    def waiting(self) -> int:
        """The number of waiting requests."""
        return sum(map(len, self._keys.values()))

    async def enter(self, key: str, weight: float) -> None:
        """Wait until a request may be published. The caller must call :meth:`leave` afterwards, unless this raises.

        :raises QueueFullError: if too many requests wait.
        """
        if not self._keys and self.out < self._room():
            self._count(key, weight)
            self.out += 1
            return
        if self.waiting >= self._most:
            raise QueueFullError(self.waiting)
        entry = _Waiting(key, weight, asyncio.get_running_loop().create_future())
        if key not in self._keys:
            # A key gains no advantage from the time when it had no requests.
            self._had[key] = max(self._had.get(key, 0.0), self._now)
        self._keys.setdefault(key, deque()).append(entry)
        self.look()
        try:
            await entry.future
        except asyncio.CancelledError:
            if entry.future.done() and not entry.future.cancelled():
                self.leave()  # the request got its turn in the same turn of the loop
            else:
                self._remove(entry)
            raise

    def leave(self) -> None:
        """End the turn of a request that has ended."""
        self.out -= 1
        self.look()

    def look(self) -> None:
        """Let waiting requests go, as far as there is room. To be called after a change of the room."""
        while self._keys and self.out < self._room():
            entry = self._next()
            # A cancelled request stays in the queue until its task runs.
            if not entry.future.cancelled():
                self._count(entry.key, entry.weight)
                self.out += 1
                entry.future.set_result(None)

    def _next(self) -> _Waiting:
        key = min(self._keys, key=lambda name: self._had[name])
        queue = self._keys[key]
        entry = queue.popleft()
        if not queue:
            del self._keys[key]
        return entry

    def _count(self, key: str, weight: float) -> None:
        self._now = max(self._now, self._had.get(key, 0.0))
        self._had[key] = max(self._had.get(key, 0.0), self._now) + 1.0 / weight
        if not self._keys and len(self._had) > 1000:
            self._had = {name: had for name, had in self._had.items() if had > self._now}

    def _remove(self, entry: _Waiting) -> None:
        queue = self._keys.get(entry.key)
        if queue is not None and entry in queue:
            queue.remove(entry)
            if not queue:
                del self._keys[entry.key]
