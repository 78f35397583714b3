# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The hash of one blob whose pieces arrive in any order.

As soon as the piece that continues the hashed bytes is there, the thread that brought it hashes it, and all that follow
without a gap. So the digest is known when the last byte is, and nothing is read twice.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Optional

from .blob_transfer import Hash, Target


@dataclass
class Piece:
    """One range of a blob, in one buffer.

    :ivar start: the place of the range in the blob.
    :ivar view: the part of the buffer that the range fills.
    :ivar got: bytes of the range that have come.
    :ivar written: the target has the whole range.
    """

    start: int
    buffer: mmap.mmap
    view: memoryview
    got: int = 0
    written: bool = False


class OrderedHash:
    """Hashes the pieces of one blob in order, and passes them on to its target.

    The engine's lock guards every call except :meth:`begin` and :meth:`hash`, which take long. One thread at a time
    hashes: the one whose :meth:`claim` returned a piece.

    :ivar length: bytes that are hashed, from the beginning.
    """

    def __init__(self, target: Target) -> None:
        self.length = 0
        self._target = target
        self._seen: Optional[Hash] = None
        self._pieces: dict[int, Piece] = {}  # those that have come and are not hashed, by their start
        self._busy = False

    def begin(self) -> int:
        """Prepare the target; return how many bytes of an earlier run it has."""
        self.length, self._seen = self._target.begin()
        return self.length

    @property
    def digest(self) -> str:
        """The digest of the bytes that are hashed."""
        return f"sha256:{self._begun.hexdigest()}"

    @property
    def busy(self) -> bool:
        """Whether a thread hashes."""
        return self._busy

    def add(self, piece: Piece) -> None:
        """Take a piece on which no thread works any more, be it complete or not."""
        self._pieces[piece.start] = piece

    def claim(self) -> Optional[Piece]:
        """Return the next piece to hash; ``None`` if it has not come yet, or another thread hashes."""
        piece = self._pieces.get(self.length)
        if self._busy or piece is None or not piece.written:
            return None
        self._busy = True
        return self._pieces.pop(piece.start)

    def hash(self, piece: Piece) -> None:
        """Hash a piece that was claimed.

        :raises CollectionError: if the target cannot take it.
        """
        self._pass(self.length + len(piece.view), piece.view)

    def release(self, piece: Piece, *, hashed: bool) -> None:
        """End the work on a piece that was claimed.

        :param hashed: whether :meth:`hash` succeeded.
        """
        self._busy = False
        if hashed:
            self.length += len(piece.view)

    def save_rest(self) -> None:
        """Have the target take the pieces that continue the hashed bytes, incomplete ones too, for a later run.

        On a full disk, the bytes behind a gap give way to those that close the gap.

        :raises CollectionError: if the target cannot take them.
        """
        if self._busy:
            return  # a thread died between hashing and taking note
        useful = self.length in self._pieces and self._target.cut(self.length)
        while useful and self.length in self._pieces:
            piece = self._pieces[self.length]
            # Whole pages, so that a later run can go on with direct output.
            whole = piece.got if piece.got == len(piece.view) else piece.got // mmap.PAGESIZE * mmap.PAGESIZE
            if not whole:
                return
            self._target.write(self.length, piece.view[:whole])
            self._pass(self.length + whole, piece.view[:whole])
            self.length += whole

    def take_rest(self) -> list[Piece]:
        """Return the pieces that are not hashed, and forget them."""
        rest = list(self._pieces.values())
        self._pieces.clear()
        return rest

    def _pass(self, length: int, data: memoryview) -> None:
        self._target.reached(length, data)
        self._begun.update(data)
        self._target.passed(length, data, self._begun)

    @property
    def _begun(self) -> Hash:
        if self._seen is None:
            raise RuntimeError("begin() was not called")
        return self._seen
