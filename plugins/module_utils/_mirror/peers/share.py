# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The share of a node: the pieces of a blob that the node reads from the mirror for all nodes."""

from __future__ import annotations

import random
from typing import Optional

from .neighbourhood import PieceWatch
from .piece_file import PieceFile

#: Seconds after which a node checks again those of its pieces that another node had or was reading.
SECOND_LOOK = 2.0


class Share:
    """The pieces that belong to this node, as long as the readers stay the same.

    The node takes them part by part, and in random order within a part. If two nodes disagree for a moment on who owns
    a piece, the random order makes it unlikely that both read it.

    :param part: the number of pieces of a part.
    """

    def __init__(self, file: PieceFile, watch: PieceWatch, part: int) -> None:
        self._file = file
        self._watch = watch
        self._part = part
        self._among: tuple[str, ...] = ()  # the readers among which this node owns its pieces
        self._owned: list[int] = []
        self._unread: list[int] = []  # the owned pieces that are not checked yet
        self._unread_since = 0.0

    def pick(self, needed: int, now: float) -> Optional[int]:
        """Return a piece of this node that no node has or reads; ``None`` if there is none.

        :param needed: the missing pieces that this node does not receive now, as bits (``piece_marks.py``).
        """
        readers, me = self._watch.readers, self._file.importer
        if readers != self._among:
            self._among = readers
            mine = numbers_of(needed) if me in readers else []
            self._owned = [number for number in mine if self._watch.owner(number) == me]
            self._owned.sort(key=lambda number: (-(number // self._part), random.random()))  # noqa: S311
            self._unread, self._unread_since = list(self._owned), now
        elif not self._unread and now - self._unread_since > SECOND_LOOK:
            # A neighbour that had a piece, or was reading it, may have died or lied since.
            self._unread, self._unread_since = [one for one in self._owned if not self._file.present[one]], now
        while self._unread:
            number = self._unread.pop()
            if needed >> number & 1 and not self._watch.spread(number):
                return number
        return None


def numbers_of(pieces: int) -> list[int]:
    """Return the numbers of all pieces from bits."""
    return [number for number, digit in enumerate(bin(pieces)[:1:-1]) if digit == "1"]
