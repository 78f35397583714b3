# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The pace of the mirror and of all neighbours together, as one node sees it while it downloads a blob."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

#: The bytes per second of all neighbours together below which a node may also read the mirror, and how many times
#: faster one request to the mirror must be. If the node's own link is slow, the mirror is not faster.
SLOW = 256 * 1024
FASTER = 2.0

#: The seconds with running requests over which the pace of the neighbours is taken. With more imports, the time grows,
#: because they share the links of the neighbours: at the beginning of a large fleet, pieces are rare for a while.
WINDOW = 20.0
FEW_IMPORTERS = 4

#: The windows after which the pace of the mirror is unknown again. Until a node knows it, the node reads one piece to
#: find out. In a fleet whose links are all slow, these reads must stay a small part of all pieces. A failed read says
#: little about the pace.
REMEMBERED = 30
REMEMBERED_FAILURE = 1


@dataclass
class _Read:
    """A running read of a piece from the mirror."""

    since: float
    received: int = 0


class Pace:
    """The pace of one download. The lock of the swarm guards the methods that change it."""

    def __init__(self) -> None:
        self._mirror_reads: dict[int, _Read] = {}  # by the number of the piece
        self._mirror_seconds = 0.0
        self._mirror_rate = 0.0
        self._mirror_seen = float("-inf")
        self._mirror_failed = False
        self._requests = 0  # running requests to neighbours
        self._busy_since = 0.0
        self._busy = 0.0  # seconds with such requests in this window, until _busy_since
        self._received = 0
        self._neighbours_rate: Optional[float] = None

    def mirror_begins(self, number: int, now: float) -> None:
        """Note that a read of a piece from the mirror begins."""
        self._mirror_reads[number] = _Read(now)

    def mirror_received(self, number: int, count: int) -> None:
        """Note bytes of a piece from the mirror."""
        self._mirror_reads[number].received += count

    def mirror_ended(self, number: int, now: float, *, failed: bool = False) -> None:
        """Note the end of a read of a piece from the mirror. A read may end early because a neighbour was faster."""
        read = self._mirror_reads.pop(number)
        seconds = now - read.since
        self._mirror_rate, self._mirror_seen = read.received / max(seconds, 0.001), now
        self._mirror_failed = failed
        if not failed:
            self._mirror_seconds = max(seconds, self._mirror_seconds / 2)

    def mirror_seconds(self, now: float) -> float:
        """Return how long reads of the mirror take or have taken lately; 0 if this node has not read it."""
        return max([self._mirror_seconds, *(now - read.since for read in list(self._mirror_reads.values()))])

    def neighbour_begins(self, now: float) -> None:
        """Note that a request to a neighbour begins."""
        if not self._requests:
            self._busy_since = now
        self._requests += 1

    def neighbour_ended(self, now: float) -> None:
        """Note the end of a request to a neighbour."""
        self._requests -= 1
        if not self._requests:
            self._busy += now - self._busy_since

    def received(self, count: int) -> None:
        """Note bytes from a neighbour."""
        self._received += count

    def mirror_is_faster(self, importers: int, now: float) -> bool:
        """Return whether the neighbours are slow, and one request to the mirror is faster, or may be.

        :param importers: the number of running imports of the blob.
        """
        window = WINDOW * max(1.0, importers / FEW_IMPORTERS)
        busy = self._busy + (now - self._busy_since if self._requests else 0.0)
        if busy >= window:
            self._neighbours_rate = self._received / busy
            self._received, self._busy, self._busy_since = 0, 0.0, now
        if self._neighbours_rate is None or self._neighbours_rate >= SLOW:
            return False
        if now - self._mirror_seen > (REMEMBERED_FAILURE if self._mirror_failed else REMEMBERED) * window:
            return True
        return self._mirror_rate > FASTER * self._neighbours_rate
