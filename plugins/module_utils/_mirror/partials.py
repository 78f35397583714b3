# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Partial files: what a download has written so far, and the journal by which a later run goes on.

A partial file is a beginning of the content without holes. Its journal holds digests of ever longer beginnings, which
cost nothing, since the hash of the whole passes there anyway. A later run hashes the file again and goes on behind the
longest beginning whose digest still is what the journal says. So neither file is trusted, and neither has to be synced
while it grows: what a power failure took or damaged is simply fetched again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from typing import Optional

from .._ollama.directories import Directory, Ownership, explained
from .transfer import Hash

#: Bytes between two lines of the journal. A resumed download repeats at most so much, and what was in flight.
INTERVAL = 32 * 1024 * 1024

#: Bytes read at once to hash again what is there.
_BLOCK = 1024 * 1024

#: A journal for the largest blob that a manifest may name has 45 MB; more is not read.
_MAX_JOURNAL = 64 * 1024 * 1024

_LINE = re.compile(rb"(\d{1,14}) ([0-9a-f]{64})\n")


class PartialFile:
    """A file that grows in one directory until it can take its place in another; a target of the transfer engine."""

    def __init__(
        self, directory: Directory, stem: str, size: int, ownership: Ownership, destination: Directory, name: str
    ) -> None:
        """Say where to grow, and where to go in the end.

        :param stem: what the names of file and journal in the directory begin with.
        :param destination: the directory, and ``name`` the place in it, to take when complete.
        """
        self._directory = directory
        self._partial = partial_name(stem)
        self._journal = journal_name(stem)
        self._size = size
        self._ownership = ownership
        self._destination = destination
        self._name = name
        self._descriptor = -1
        self._journal_descriptor = -1
        self._noted = 0

    def begin(self) -> tuple[int, Hash]:
        """Open what an earlier run left, or a new file; return how much of it is good, and the hash that saw it."""
        journaled = self._size > INTERVAL
        self._descriptor = self._directory.create_file(self._partial, self._ownership, keep=journaled)
        offset, seen = 0, hashlib.sha256()
        if journaled:
            self._journal_descriptor = self._directory.create_file(self._journal, self._ownership, keep=True)
            offset, seen, lines = self._verified()
            with explained("write", self._directory.join(self._partial)):
                os.ftruncate(self._descriptor, offset)
                os.ftruncate(self._journal_descriptor, lines)
        self._noted = offset
        return offset, seen

    def write(self, offset: int, data: memoryview, seen: Hash) -> None:
        """Add bytes, and a line to the journal when it is time."""
        with explained("write", self._directory.join(self._partial)):
            while data:
                count = os.pwrite(self._descriptor, data, offset)
                offset += count
                data = data[count:]
            if self._journal_descriptor >= 0 and offset >= self._noted + INTERVAL:
                self._noted = offset
                _append(self._journal_descriptor, f"{offset} {seen.hexdigest()}\n".encode())

    def commit(self) -> None:
        """Make sure that the file is on the disk, and put it in place."""
        with explained("write", self._directory.join(self._partial)):
            os.fsync(self._descriptor)
        self._close()
        self._directory.move(self._partial, self._destination, self._name)
        self._directory.remove(self._journal)

    def suspend(self) -> None:
        """Keep file and journal for a later run; without a journal the file is worth nothing."""
        worthless = self._descriptor >= 0 and self._journal_descriptor < 0
        self._close()
        if worthless:
            self._directory.remove(self._partial)

    def discard(self) -> None:
        """Remove file and journal."""
        self._close()
        self._directory.remove(self._partial)
        self._directory.remove(self._journal)

    def _close(self) -> None:
        for descriptor in (self._descriptor, self._journal_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._journal_descriptor = -1

    def _verified(self) -> tuple[int, hashlib._Hash, int]:
        """Return the length of the longest good beginning, its hash, and the length of the journal up to there."""
        good = (0, hashlib.sha256(), 0)
        with explained("read", self._directory.join(self._journal)):
            length = min(os.fstat(self._journal_descriptor).st_size, _MAX_JOURNAL)
            journal = os.pread(self._journal_descriptor, length, 0)
            present = min(os.fstat(self._descriptor).st_size, self._size)
        with explained("read", self._directory.join(self._partial)):
            seen, position, lines = hashlib.sha256(), 0, 0
            while True:
                line = _LINE.match(journal, lines)
                if line is None or not position < int(line[1]) <= present:
                    return good
                for piece in _pieces(self._descriptor, position, int(line[1])):
                    seen.update(piece)
                if seen.hexdigest().encode() != line[2]:
                    return good
                position, lines = int(line[1]), line.end()
                good = position, seen.copy(), lines


def partial_name(stem: str) -> str:
    """Return the name of a partial file."""
    return f"{stem}.partial"


def journal_name(stem: str) -> str:
    """Return the name of a partial file's journal."""
    return f"{stem}.journal"


def held(directory: Optional[Directory], stem: str) -> int:
    """Return how many bytes of the disk a partial file already has."""
    state = directory.stat(partial_name(stem)) if directory else None
    return state.st_blocks * 512 if state else 0  # st_blocks counts units of 512 bytes (stat(2))


def _append(descriptor: int, line: bytes) -> None:
    os.lseek(descriptor, 0, os.SEEK_END)
    os.write(descriptor, line)


def _pieces(descriptor: int, start: int, stop: int) -> Iterator[bytes]:
    while start < stop:
        piece = os.pread(descriptor, min(_BLOCK, stop - start), start)
        if not piece:
            return
        yield piece
        start += len(piece)
