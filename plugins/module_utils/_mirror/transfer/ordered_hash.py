# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The hash of one blob whose pieces arrive in any order.

When the piece that continues the hashed bytes arrives, its thread hashes it and all pieces that follow without a gap.
So the digest is known soon after the last byte has arrived, and no byte is read again.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Optional

from .blob_transfer import Hash, Target


@dataclass
class BlobRange:
    """One range of a blob, in one buffer.

    :ivar start: the offset of the range in the blob.
    :ivar view: the part of the buffer for the range.
    :ivar got: received bytes of the range.
    :ivar written: whether the target has the whole range.
    """

    start: int
    buffer: mmap.mmap
    view: memoryview
    got: int = 0
    written: bool = False


class OrderedHash:
    """Hashes the pieces of one blob in order, and passes them to its target.

    The engine's lock guards every call except :meth:`begin` and :meth:`hash`, which take long. Only one thread hashes
    at a time: the thread that got a piece from :meth:`claim`.

    :ivar length: the number of hashed bytes, from the beginning of the blob.
    """

    def __init__(self, target: Target) -> None:
        self.length = 0
        self._target = target
        self._seen: Optional[Hash] = None
        self._pieces: dict[int, BlobRange] = {}  # received pieces that are not hashed, by their start
        self._busy = False

    def begin(self) -> int:
        """Prepare the target; return the number of bytes that it has from an earlier run."""
        self.length, self._seen = self._target.begin()
        return self.length

    @property
    def digest(self) -> str:
        """The digest of the hashed bytes."""
        return f"sha256:{self._begun.hexdigest()}"

    @property
    def busy(self) -> bool:
        """Whether a thread is hashing a piece."""
        return self._busy

    def add(self, piece: BlobRange) -> None:
        """Take a piece, complete or not, that no thread works on any more."""
        self._pieces[piece.start] = piece

    def claim(self) -> Optional[BlobRange]:
        """Return the next piece to hash; ``None`` if it has not arrived yet, or another thread is hashing."""
        piece = self._pieces.get(self.length)
        if self._busy or piece is None or not piece.written:
            return None
        self._busy = True
        return self._pieces.pop(piece.start)

    def hash(self, piece: BlobRange) -> None:
        """Hash a claimed piece.

        :raises CollectionError: if the target cannot take the bytes.
        """
        self._pass(self.length + len(piece.view), piece.view)

    def release(self, piece: BlobRange, *, hashed: bool) -> None:
        """End the work on a claimed piece.

        :param hashed: whether :meth:`hash` succeeded.
        """
        self._busy = False
        if hashed:
            self.length += len(piece.view)

    def save_rest(self) -> None:
        """Write the pieces that continue the hashed bytes to the target for a later run, incomplete ones too.

        The target first drops all bytes after the hashed ones, which makes room on a full disk.

        :raises CollectionError: if the target cannot take the bytes.
        """
        if self._busy:
            return  # a thread died while it hashed, so the hash may not match the length
        useful = self.length in self._pieces and self._target.cut(self.length)
        while useful and self.length in self._pieces:
            piece = self._pieces[self.length]
            # Whole pages, so that a later run can continue with direct output.
            whole = piece.got if piece.got == len(piece.view) else piece.got // mmap.PAGESIZE * mmap.PAGESIZE
            if not whole:
                return
            self._target.write(self.length, piece.view[:whole])
            self._pass(self.length + whole, piece.view[:whole])
            self.length += whole

    def take_rest(self) -> list[BlobRange]:
        """Return and remove the pieces that are not hashed."""
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
