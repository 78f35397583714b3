# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Piece files: partial files whose pieces arrive in any order. Each piece is verified by its digest.

A thread also hashes the whole file: it hashes each piece as soon as all pieces before it have arrived. So the digest
in the manifest has the final word, as for any other blob. The thread also writes the journal of a partial file, so that
a later run without neighbours continues, too.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from typing import Optional

from ..._ollama.safe_fs import Directory, DirectoryError, Ownership, explained
from ..transfer.partial_file import JournalOfPieces, partial_name
from .piece_list import PieceList
from .piece_marks import CLAIMED, MISSING, PRESENT, PieceMarks

#: Bytes of one read.
_BLOCK = 1024 * 1024


class PieceFile:
    """A file that grows by pieces in one directory until it is moved to another. Safe for use by several threads.

    :ivar present: for each piece, whether the file has it with the right digest.
    :ivar lacking: the number of missing pieces.
    """

    def __init__(
        self, directory: Directory, stem: str, pieces: PieceList, ownership: Ownership, destination: Directory
    ) -> None:
        """
        :param directory: where the file grows.
        :param stem: the name of the complete file, and the beginning of the names of the partial file and the marks.
        :param destination: the directory to which the complete file is moved.
        """
        self.pieces = pieces
        self.present = [False] * len(pieces.digests)
        self.lacking = len(pieces.digests)
        self._directory = directory
        self._stem = stem
        self._ownership = ownership
        self._destination = destination
        self._marks = PieceMarks(directory, stem, pieces, ownership)
        self._descriptor = -1
        self._journal = JournalOfPieces(directory, stem, pieces.size, ownership)
        self._grew = threading.Condition()
        self._over = False
        self._hasher = threading.Thread(target=self._hash, name="piece-hash", daemon=True)
        self._digest = ""
        self._unreadable: Optional[Exception] = None  # why the hash of the whole file ended early

    @property
    def importer(self) -> str:
        """The name of this import, for the neighbours."""
        return self._marks.importer

    def begin(self, models: Sequence[str]) -> int:
        """Open the file of an earlier run, or a new one; return the number of its good bytes.

        :param models: full names of the models that need the blob.
        """
        try:
            return self._begin(models)
        except BaseException:
            # A process that lives on would keep the lock on the marks.
            self.suspend()
            raise

    def _begin(self, models: Sequence[str]) -> int:
        marks = self._marks.open()
        self._descriptor = self._directory.create_file(partial_name(self._stem), self._ownership, keep=True)
        self._journal.open()
        there = os.fstat(self._descriptor).st_size
        good = 0
        # A run without neighbours leaves a beginning of the file, whatever the marks of an earlier run say.
        beginning = True
        for number in range(len(self.present)):
            start, stop = self.pieces.bounds(number)
            if (marks[number] == PRESENT or beginning) and stop <= there:
                right = self._digest_at(start, stop) == self.pieces.digests[number]
                self.present[number] = right
                good += (stop - start) * right
                beginning = beginning and right
        self.lacking = self.present.count(False)
        with explained("write", self._directory.join(partial_name(self._stem))):
            os.ftruncate(self._descriptor, self.pieces.size)
        self._marks.publish(models, bytes(PRESENT if one else MISSING for one in self.present))
        self._hasher.start()
        return good

    def claim(self, number: int) -> None:
        """Mark a piece for the neighbours as being read from the mirror."""
        self._marks.set(number, CLAIMED)

    def release(self, number: int) -> None:
        """Mark a piece for the neighbours as no longer being read from the mirror."""
        if not self.present[number]:
            self._marks.set(number, MISSING)

    def put(self, number: int, data: memoryview) -> bool:
        """Write a piece if its digest is right; return whether it is.

        :raises DirectoryError: if the bytes cannot be written, or earlier bytes cannot be read for the hash of the
            whole file.
        """
        if self._unreadable is not None:
            raise self._unreadable
        if hashlib.sha256(data).digest() != self.pieces.digests[number]:
            return False
        if self.present[number]:
            return True
        offset = number * self.pieces.piece_size
        with explained("write", self._directory.join(partial_name(self._stem))):
            while data:
                count = os.pwrite(self._descriptor, data, offset)
                # This starts the write to the disk, so that the sync at the end has less to do. Pages that are being
                # written stay in memory, for the hash and for neighbours.
                os.posix_fadvise(self._descriptor, offset, count, os.POSIX_FADV_DONTNEED)
                offset, data = offset + count, data[count:]
        with self._grew:
            if not self.present[number]:
                self.present[number] = True
                self.lacking -= 1
            self._grew.notify()
        self._marks.set(number, PRESENT)
        return True

    def digest(self) -> str:
        """Wait for the hash of the whole file, and return the digest.

        :raises DirectoryError: if the file cannot be read.
        """
        self._hasher.join()
        if self._unreadable is not None:
            raise self._unreadable
        return self._digest

    def commit(self) -> None:
        """Sync the content to the disk, and move the file to its destination. The marks stay until :meth:`end`."""
        with explained("write", self._directory.join(partial_name(self._stem))):
            os.fsync(self._descriptor)
            # Free the page cache for the model that is being served. The next reader of the blob reads it again.
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        self._directory.move(partial_name(self._stem), self._destination, self._stem, lasting=False)
        self._close()
        self._journal.remove()

    def end(self) -> None:
        """Remove the marks of a file that was moved. Until then, the node's server gives the blob to neighbours."""
        self._marks.remove()

    def suspend(self) -> None:
        """Keep file, journal and marks for a later run."""
        self._close()
        self._marks.close()

    def discard(self) -> None:
        """Remove file, journal and marks."""
        self._close()
        self._directory.remove(partial_name(self._stem))
        self._journal.remove()
        self._marks.remove()

    def _close(self) -> None:
        with self._grew:
            self._over = True
            self._grew.notify()
        if self._hasher.is_alive():
            self._hasher.join()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._journal.close()

    def _digest_at(self, start: int, stop: int) -> bytes:
        """Return the digest of bytes of an earlier run; empty if they cannot be read.

        The bytes then come again. The write may heal a bad sector, which otherwise would end each further run.
        """
        seen = hashlib.sha256()
        try:
            self._read_into(seen, start, stop)
        except DirectoryError:
            return b""
        return seen.digest()

    def _read_into(self, seen: hashlib._Hash, start: int, stop: int) -> None:
        with explained("read", self._directory.join(partial_name(self._stem))):
            while start < stop:
                block = os.pread(self._descriptor, min(_BLOCK, stop - start), start)
                if not block:
                    return
                seen.update(block)
                start += len(block)

    def _hash(self) -> None:
        """Hash the whole file, piece by piece, and write its journal."""
        seen = hashlib.sha256()
        for number in range(len(self.present)):
            with self._grew:
                self._grew.wait_for(lambda at=number: self._over or self.present[at])  # type: ignore[misc]
                if self._over:
                    return
            start, stop = self.pieces.bounds(number)
            try:
                self._read_into(seen, start, stop)
            except Exception as error:  # noqa: BLE001 - put() and digest() raise it
                self._unreadable = error
                return
            self._journal.passed(stop, seen)
        self._digest = f"sha256:{seen.hexdigest()}"
