# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Partial files: what a download has written so far, and the journal by which a later run goes on.

The journal of a partial file holds digests of ever longer beginnings of the content, which cost nothing, since the
hash of the whole passes there anyway. A later run hashes the file again and goes on behind the longest beginning whose
digest still is what the journal says. So neither file is trusted, and neither has to be synced while it grows: what a
power failure took or damaged, and what lies behind a hole, is simply fetched again.

Large files are written past the page cache where the file system can (O_DIRECT). It saves the processor a copy and the
cache its content: an import of 40 GB must not drive out the model that is being served meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import threading
import time
from collections.abc import Collection, Iterator
from typing import Optional

from ..._ollama.safe_fs import Directory, DirectoryError, Ownership, explained
from ..._ollama.store import TEMPORARY
from .blob_transfer import Hash

#: Bytes between two lines of the journal. A resumed download repeats at most so much, and what was in flight.
INTERVAL = 16 * 1024 * 1024

#: Bytes. What direct output wants addresses and lengths to be multiples of; no disk in use has larger blocks.
BLOCK = 4096

#: Seconds, a week. What was interrupted so long ago, and is not part of what is imported now, only takes room.
ABANDONED_AFTER = 7 * 24 * 3600.0

#: Bytes read at once to hash again what is there.
_BLOCK = 1024 * 1024

#: Bytes. A blob of 1 TB has a journal of 5 MB; more is not read.
_MAX_JOURNAL = 16 * 1024 * 1024

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
        self._noted = 0  # bytes of the content that the journal tells of
        self._journaled = 0  # bytes of the journal
        self._passed: tuple[int, Hash] = (0, hashlib.sha256())
        self._direct = False
        self._in_turn = threading.Lock()

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
            self._journaled = lines
            self._go_direct(offset)
        self._noted = offset
        self._passed = offset, seen
        return offset, seen

    def write(self, offset: int, data: memoryview) -> None:
        """Write bytes at their place; any number of threads may do so."""
        with explained("write", self._directory.join(self._partial)):
            if self._direct:
                try:
                    # Whole blocks; what is too much at the end of the file is cut off in the end.
                    _write(self._descriptor, offset, _whole_blocks(data))
                    return
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    self._leave_direct()
            # Through the cache the system lets one at a time write to a file, and has the others try again and again.
            with self._in_turn:
                _write(self._descriptor, offset, data)

    def reached(self, length: int, data: memoryview) -> None:
        """Do nothing: the bytes are at their place, whatever their order."""

    def passed(self, length: int, data: memoryview, seen: Hash) -> None:
        """Add a line to the journal when it is time."""
        self._passed = length, seen
        if self._journal_descriptor >= 0 and length >= self._noted + INTERVAL:
            self._note()

    def cut(self, length: int) -> bool:
        """Drop what was written behind the first so many bytes; return whether more would be of use to a later run."""
        with explained("write", self._directory.join(self._partial)):
            os.ftruncate(self._descriptor, length)
        return self._journal_descriptor >= 0

    def commit(self) -> None:
        """Make sure that the content is on the disk, and put the file in place.

        That the disk knows the place, too, is for the caller: once for many files (:meth:`Directory.sync`).
        """
        with explained("write", self._directory.join(self._partial)):
            if self._journal_descriptor >= 0:  # direct output may have filled the last block
                os.ftruncate(self._descriptor, self._size)
            os.fsync(self._descriptor)
        journaled = self._journal_descriptor >= 0
        self._close()
        self._directory.move(self._partial, self._destination, self._name, lasting=False)
        if journaled:
            self._directory.remove(self._journal)

    def suspend(self) -> None:
        """Keep file and journal for a later run; without a journal the file is worth nothing."""
        worthless = self._descriptor >= 0 and self._size <= INTERVAL
        if self._journal_descriptor >= 0 and self._passed[0] > self._noted:
            # The error that suspends is worth more than one about the journal.
            with contextlib.suppress(DirectoryError):
                # No later run looks behind what has passed. On a full disk it makes room for the line.
                self.cut(self._passed[0])
                self._note()
        self._close()
        if worthless:
            self._directory.remove(self._partial)

    def discard(self) -> None:
        """Remove file and journal."""
        self._close()
        self._directory.remove(self._partial)
        self._directory.remove(self._journal)

    def _note(self) -> None:
        length, seen = self._passed
        line = f"{length} {seen.hexdigest()}\n".encode()
        with explained("write", self._directory.join(self._journal)):
            # Half a line, which is all that may fit on a full disk, is written over the next time.
            if os.pwrite(self._journal_descriptor, line, self._journaled) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._noted = length
        self._journaled += len(line)

    def _close(self) -> None:
        for descriptor in (self._descriptor, self._journal_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._journal_descriptor = -1
        self._direct = False

    def _go_direct(self, offset: int) -> None:
        flag = getattr(os, "O_DIRECT", 0)
        if flag and offset % BLOCK == 0:
            with contextlib.suppress(OSError):  # not every file system can
                fcntl.fcntl(self._descriptor, fcntl.F_SETFL, fcntl.fcntl(self._descriptor, fcntl.F_GETFL) | flag)
                self._direct = True
                # Within the length of the file several threads can write at once.
                os.ftruncate(self._descriptor, self._size)

    def _leave_direct(self) -> None:
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)
        self._direct = False

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


#: Bytes behind the stem in the longest of the names that are made of it.
LONGEST_SUFFIX = 32


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


def kept_bytes(directory: Optional[Directory]) -> dict[str, int]:
    """Return how many bytes of the disk each partial file of a directory has, by the stem of its name."""
    stems = [name.rpartition(".")[0] for name in directory.names() if name.endswith(".partial")] if directory else []
    return {stem: held(directory, stem) for stem in stems}


def remove_abandoned(directory: Directory, kept: Collection[str], older_than: float) -> None:
    """Remove what interrupted downloads have left that nobody will go on with.

    :param kept: what the names of files and journals begin with that are left alone.
    :param older_than: seconds since they were written to.
    """
    for name in directory.names():
        stem, _dot, kind = name.rpartition(".")
        least = older_than
        if name.startswith(TEMPORARY):
            least = ABANDONED_AFTER  # another process may be about to put it in place
        elif kind not in ("partial", "journal") or stem in kept:
            continue
        state = directory.stat(name)
        if state is not None and time.time() - state.st_mtime >= least:
            directory.remove(name)


def _whole_blocks(data: memoryview) -> memoryview:
    """Return the bytes and as many of those behind them in their buffer as fill the last block."""
    length = -(-len(data) // BLOCK) * BLOCK
    return data if length == len(data) else memoryview(data.obj)[:length]


def _write(descriptor: int, offset: int, data: memoryview) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        offset += count
        data = data[count:]


def _pieces(descriptor: int, start: int, stop: int) -> Iterator[bytes]:
    while start < stop:
        piece = os.pread(descriptor, min(_BLOCK, stop - start), start)
        if not piece:
            return
        yield piece
        start += len(piece)
