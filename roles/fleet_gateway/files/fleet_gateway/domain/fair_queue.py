# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who goes next: requests that wait in front of a lane, in a fair order of their keys.

A lane is given only about as many requests as its nodes have slots. The rest waits here, where it can still be sorted:
in a queue at the broker the first come would be the first served, and whoever sends 500 requests at once would hold
everybody else up. Among the keys that wait the one goes next that has been served least, by its weight (start-time
fair queuing); the requests of one key go in the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Callable


class QueueFullError(Exception):
    """Too many requests wait already; ``waiting`` says how many."""

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

    :param room: returns how many requests may be out at a time.
    :param most: requests that may wait.
    """

    def __init__(self, room: Callable[[], int], most: int) -> None:
        self._room = room
        self._most = most
        self._keys: dict[str, deque[_Waiting]] = {}
        #: How much each key has had, in requests by weight; and the same of the key that was served last.
        self._had: dict[str, float] = {}
        self._now = 0.0
        self.out = 0

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return sum(map(len, self._keys.values()))

    async def enter(self, key: str, weight: float) -> None:
        """Wait until a request may go out; ``leave`` must follow. Cancelled, it has never gone out.

        :raises QueueFullError: when too many wait.
        """
        if not self._keys and self.out < self._room():
            self._count(key, weight)
            self.out += 1
            return
        if self.waiting >= self._most:
            raise QueueFullError(self.waiting)
        entry = _Waiting(key, weight, asyncio.get_running_loop().create_future())
        if key not in self._keys:
            # Who was away has saved nothing up: it begins where the others are.
            self._had[key] = max(self._had.get(key, 0.0), self._now)
        self._keys.setdefault(key, deque()).append(entry)
        self.look()
        try:
            await entry.future
        except asyncio.CancelledError:
            if entry.future.done() and not entry.future.cancelled():
                self.leave()  # it was let out in this very moment
            else:
                self._remove(entry)
            raise

    def leave(self) -> None:
        """A request is over."""
        self.out -= 1
        self.look()

    def look(self) -> None:
        """Let out what there is room for; to be called when the room has changed."""
        while self._keys and self.out < self._room():
            entry = self._next()
            # Who has given up is still here, until its task runs and takes it away.
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
