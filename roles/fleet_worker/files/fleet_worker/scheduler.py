# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lanes are consumed, and which request runs next. Pure policy: events in, actions out, no clock and no I/O.

Every open lane has one consumer with a prefetch of the number of slots. A request that arrives while a slot is free is
started; the others are held, and started by the priority of their lane, then in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Union


@dataclass(frozen=True)
class Consume:
    """Begin to consume a lane."""

    queue: str


@dataclass(frozen=True)
class Cancel:
    """Stop consuming a lane."""

    queue: str


@dataclass(frozen=True)
class Start:
    """Run a request."""

    item: Any


@dataclass(frozen=True)
class GiveBack:
    """Return a request that was not started to its queue."""

    item: Any


Action = Union[Consume, Cancel, Start, GiveBack]


class Scheduler:
    """The policy of one worker.

    :param priorities: of each lane, by its queue; higher goes first.
    :param slots: requests that may run at the same time.
    """

    def __init__(self, priorities: dict[str, int], slots: int) -> None:
        self._priorities = priorities
        self.slots = slots
        self.running = 0
        self._consumed: set[str] = set()
        self._held: list[tuple[str, Any]] = []
        self._draining = False
        self._blocked = False

    @property
    def held(self) -> int:
        """Requests that were taken and not started."""
        return len(self._held)

    def open(self, queues: Iterable[str]) -> list[Action]:
        """Exactly these lanes can be worked on from now on."""
        wanted = set() if self._draining else set(queues)
        actions: list[Action] = [Cancel(queue) for queue in sorted(self._consumed - wanted)]
        actions += [Consume(queue) for queue in self._by_priority(wanted - self._consumed)]
        self._consumed = wanted
        return actions

    def delivered(self, queue: str, item: Any) -> list[Action]:
        """A request has arrived."""
        self._held.append((queue, item))
        return self._fill()

    def finished(self) -> list[Action]:
        """A request that ran is over."""
        self.running -= 1
        return self._fill()

    def block(self, blocked: bool) -> list[Action]:
        """While answers cannot be sent nothing is started."""
        self._blocked = blocked
        return self._fill()

    def reset(self) -> None:
        """The channel is gone, and with it the consumers and what was held; what runs goes on."""
        self._consumed.clear()
        self._held.clear()

    def lost(self, queue: str) -> None:
        """The broker has cancelled the consumer of a lane."""
        self._consumed.discard(queue)

    def drain(self) -> list[Action]:
        """Take nothing any more, and give back what was not started."""
        actions = self.open(())
        self._draining = True
        actions += [GiveBack(item) for _queue, item in self._held]
        self._held.clear()
        return actions

    def _fill(self) -> list[Action]:
        actions: list[Action] = []
        while self._held and self.running < self.slots and not self._blocked:
            best = max(range(len(self._held)), key=lambda index: (self._priorities[self._held[index][0]], -index))
            _queue, item = self._held.pop(best)
            self.running += 1
            actions.append(Start(item))
        if self._draining:
            # What was on its way when its consumer was cancelled.
            actions += [GiveBack(item) for _queue, item in self._held]
            self._held.clear()
        return actions

    def _by_priority(self, queues: Iterable[str]) -> list[str]:
        return sorted(queues, key=lambda queue: (-self._priorities[queue], queue))
