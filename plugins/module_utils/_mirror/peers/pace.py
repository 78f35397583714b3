# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The pace of the mirror, as one node sees it while it downloads a blob."""

from __future__ import annotations


class Pace:
    """The time that this node's reads of the mirror take. The lock of the swarm guards the methods that change it."""

    def __init__(self) -> None:
        self._mirror_reads: dict[int, float] = {}  # when each running read began, by the number of the piece
        self._mirror_seconds = 0.0

    def mirror_begins(self, number: int, now: float) -> None:
        """Note that a read of a piece from the mirror begins."""
        self._mirror_reads[number] = now

    def mirror_ended(self, number: int, size: int, now: float) -> None:
        """Note the end of a read of a piece from the mirror.

        :param size: the bytes of the piece; 0 if the read failed.
        """
        seconds = now - self._mirror_reads.pop(number)
        if size:
            self._mirror_seconds = max(seconds, self._mirror_seconds / 2)

    def mirror_seconds(self, now: float) -> float:
        """Return how long reads of the mirror take or have taken lately; 0 if this node has not read it."""
        return max([self._mirror_seconds, *(now - since for since in list(self._mirror_reads.values()))])
