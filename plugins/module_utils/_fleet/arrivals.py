# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The arriving deltas of one answer: sorted, passed on once, and counted.

A delta may be lost (a full reply queue drops it), may arrive twice, or may belong to an attempt of a dead worker. The
answer is not affected, because it follows in full, but the display of the deltas is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from .messages import Delta

#: Most deltas kept back behind a missing one. With more, the missing delta counts as lost.
WINDOW = 16


@dataclass(frozen=True)
class StreamSummary:
    """The deltas that came before an answer.

    :ivar deltas: the number of deltas passed on, including those of abandoned attempts.
    :ivar missing: the number of lost deltas of the answered attempt.
    :ivar duplicates: the number of deltas that arrived again.
    :ivar attempts: the number of attempts with at least one message.
    :ivar first_seconds: from publishing the question to the first delta; None without deltas.
    """

    deltas: int = 0
    missing: int = 0
    duplicates: int = 0
    attempts: int = 0
    first_seconds: Optional[float] = None


class Arrivals:
    """Orders the deltas of one answer. For one thread."""

    def __init__(self) -> None:
        self._attempt: Optional[str] = None
        #: The deltas of each attempt.
        self._seen: dict[str, set[int]] = {}
        self._next = 0
        self._held: dict[int, Delta] = {}
        self._ready: deque[Delta] = deque()
        self._deltas = 0
        self._duplicates = 0
        self._first_seconds: Optional[float] = None

    def add(self, delta: Delta, seconds: float) -> None:
        """Add a delta.

        :param seconds: the time since the publishing of the question.
        """
        if self._first_seconds is None:
            self._first_seconds = seconds
        seen = self._seen.get(delta.attempt)
        if seen is None:
            # Another attempt has begun, so later deltas of the earlier one are useless.
            seen = self._seen[delta.attempt] = set()
            self._attempt, self._next = delta.attempt, 0
            self._held.clear()
            self._ready.clear()
        if delta.sequence in seen:
            self._duplicates += 1
            return
        seen.add(delta.sequence)
        if delta.attempt != self._attempt or delta.sequence < self._next:
            return
        self._held[delta.sequence] = delta
        if len(self._held) > WINDOW:
            self._next = min(self._held)
        while self._next in self._held:
            self._ready.append(self._held.pop(self._next))
            self._next += 1

    def take(self) -> Iterator[Delta]:
        """Yield the deltas that are in order, each once. A gap in the sequence numbers is a lost delta."""
        while self._ready:
            self._deltas += 1
            yield self._ready.popleft()

    def summary(self, attempt: Optional[str], total: int) -> StreamSummary:
        """Return the summary of the deltas.

        :param attempt: the attempt of the answer; None if the answer does not name it.
        :param total: the number of deltas of this attempt.
        """
        return StreamSummary(
            deltas=self._deltas,
            missing=max(0, total - len(self._seen.get(attempt or "", ()))),
            duplicates=self._duplicates,
            attempts=len(self._seen),
            first_seconds=self._first_seconds,
        )
