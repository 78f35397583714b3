# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Partial files: the bytes that a download has written so far, and the journal that lets a later run continue.

The journal has the digest of the first 16 MiB of the content, of the first 32 MiB, and so on. These digests cost
nothing, because the hash of the whole content passes these points anyway. A later run hashes the file again, and
continues after the longest beginning whose digest agrees with the journal. So neither file needs to be trusted, or
synced while it grows: bytes that a power failure removed or damaged, and bytes after a gap, are fetched again.

Large files bypass the page cache if the file system allows it (O_DIRECT). This saves a copy by the processor, and it
preserves the cache: an import of 40 GB must not evict the model that is being served.
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
from .blob_transfer import Hash

#: Bytes between two lines of the journal. A resumed download repeats no more than these and the ranges in flight.
INTERVAL = 16 * 1024 * 1024

#: The alignment of direct output in bytes, for addresses and lengths. No disk in use has larger blocks.
BLOCK = 4096

#: Seconds (a week) after which an interrupted download is removed, unless the run needs it.
ABANDONED_AFTER = 7 * 24 * 3600.0

#: Bytes of one read when a partial file is hashed again.
_BLOCK = 1024 * 1024

#: The most bytes to read from a journal. A blob of 1 TB has a journal of 5 MB.
_MAX_JOURNAL = 16 * 1024 * 1024

_LINE = re.compile(rb"(\d{1,14}) ([0-9a-f]{64})\n")


class PartialFile:
    """A file that grows in one directory until it is moved to another: a :class:`Target` of the transfer engine."""

    def __init__(
        self, directory: Directory, stem: str, size: int, ownership: Ownership, destination: Directory, name: str
    ) -> None:
        """
        :param directory: where the file grows.
        :param stem: the beginning of the names of the file and its journal in the directory.
        :param size: bytes of the complete file.
        :param ownership: owner, group and mode of the file.
        :param destination: the directory to which the complete file is moved.
        :param name: the name of the complete file.
        """
        self._directory = directory
        self._partial = partial_name(stem)
        self._journal = journal_name(stem)
        self._marks = marks_name(stem)
        self._size = size
        self._ownership = ownership
        self._destination = destination
        self._name = name
        self._descriptor = -1
        self._journal_descriptor = -1
        self._noted = 0  # bytes of the content that the journal covers
        self._journaled = 0  # bytes of the journal
        self._passed: tuple[int, Hash] = (0, hashlib.sha256())
        self._direct = False
        self._in_turn = threading.Lock()

    def begin(self) -> tuple[int, Hash]:
        """Open the file of an earlier run, or a new one; return the number of its good bytes, and their hash."""
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
        """Write bytes at their place. Several threads call this at the same time."""
        with explained("write", self._directory.join(self._partial)):
            if self._direct:
                try:
                    # Whole blocks; commit() cuts off the excess at the end of the file.
                    _write(self._descriptor, offset, _whole_blocks(data))
                    return
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    self._leave_direct()
            # Without direct output, the system lets only one thread write to a file, and the others spin.
            with self._in_turn:
                _write(self._descriptor, offset, data)

    def reached(self, length: int, data: memoryview) -> None:
        """Do nothing: :meth:`write` has put the bytes at their place."""

    def passed(self, length: int, data: memoryview, seen: Hash) -> None:
        """Add a line to the journal, every ``INTERVAL`` bytes."""
        self._passed = length, seen
        if self._journal_descriptor >= 0 and length >= self._noted + INTERVAL:
            self._note()

    def cut(self, length: int) -> bool:
        """Drop the bytes after ``length``; return whether a later run could use more bytes."""
        with explained("write", self._directory.join(self._partial)):
            os.ftruncate(self._descriptor, length)
        return self._journal_descriptor >= 0

    def commit(self) -> None:
        """Sync the content to the disk, and move the file to its destination.

        The caller syncs the destination directory, once for many files (:meth:`Directory.sync`).
        """
        with explained("write", self._directory.join(self._partial)):
            if self._journal_descriptor >= 0:  # direct output may have written more than the last bytes
                os.ftruncate(self._descriptor, self._size)
            os.fsync(self._descriptor)
        journaled = self._journal_descriptor >= 0
        self._close()
        self._directory.move(self._partial, self._destination, self._name, lasting=False)
        if journaled:
            self._directory.remove(self._journal)
            self._directory.remove(self._marks)

    def suspend(self) -> None:
        """Keep file and journal for a later run. A file without a journal is removed: no run could continue it."""
        worthless = self._descriptor >= 0 and self._size <= INTERVAL
        if self._journal_descriptor >= 0 and self._passed[0] > self._noted:
            # The error that ended the transfer is more useful than one about the journal.
            with contextlib.suppress(DirectoryError):
                # A later run does not use bytes after this point; on a full disk, the cut makes room for the line.
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
        self._directory.remove(self._marks)

    def _note(self) -> None:
        length, seen = self._passed
        line = _journal_line(length, seen)
        with explained("write", self._directory.join(self._journal)):
            # On a full disk, only a part of a line may fit; the next line overwrites it.
            if os.pwrite(self._journal_descriptor, line, self._journaled) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._noted = length
        self._journaled += len(line)

    def _close(self) -> None:
        for descriptor in (self._descriptor, self._journal_descriptor):
            if descriptor >= 0:
                # Some network file systems report a full disk only now. A complete file is synced before, and the next
                # run verifies the bytes of an incomplete one.
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._descriptor = self._journal_descriptor = -1
        self._direct = False

    def _go_direct(self, offset: int) -> None:
        flag = getattr(os, "O_DIRECT", 0)
        if flag and offset % BLOCK == 0:
            with contextlib.suppress(OSError):  # some file systems have no direct output
                fcntl.fcntl(self._descriptor, fcntl.F_SETFL, fcntl.fcntl(self._descriptor, fcntl.F_GETFL) | flag)
                self._direct = True
                # Several threads can write at the same time only within the current length of the file.
                os.ftruncate(self._descriptor, self._size)

    def _leave_direct(self) -> None:
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)
        self._direct = False

    def _verified(self) -> tuple[int, hashlib._Hash, int]:
        """Return the length of the longest good beginning, its hash, and the length of the journal up to it.

        The beginning ends at bytes that cannot be read: they are cut off and written again. A bad sector would
        otherwise end each further run.
        """
        good = (0, hashlib.sha256(), 0)
        with explained("read", self._directory.join(self._journal)):
            journal = _read_journal(self._journal_descriptor)
            present = min(os.fstat(self._descriptor).st_size, self._size)
        seen, position, lines = hashlib.sha256(), 0, 0
        while True:
            line = _LINE.match(journal, lines)
            if line is None or not position < int(line[1]) <= present:
                return good
            try:
                for piece in _pieces(self._descriptor, position, int(line[1])):
                    seen.update(piece)
            except OSError:
                return good
            if seen.hexdigest().encode() != line[2]:
                return good
            position, lines = int(line[1]), line.end()
            good = position, seen.copy(), lines


class JournalOfPieces:
    """The journal that a download by pieces writes, for a later run without neighbours.

    The lines of an earlier run stay until the new ones cover as many bytes.
    """

    def __init__(self, directory: Directory, stem: str, size: int, ownership: Ownership) -> None:
        """:param size: bytes of the complete file."""
        self._directory = directory
        self._name = journal_name(stem)
        self._size = size
        self._ownership = ownership
        self._descriptor = -1
        self._covered = 0  # bytes of the content up to the last line of an earlier run
        self._noted = 0  # bytes of the content up to the last new line
        self._lines = b""  # the new lines that are not written yet
        self._written = 0  # bytes of the new lines that are

    def open(self) -> None:
        """Open the journal, unless the file is too small for one."""
        if self._size <= INTERVAL:
            return
        self._descriptor = self._directory.create_file(self._name, self._ownership, keep=True)
        with contextlib.suppress(OSError):  # the new lines then replace what cannot be read
            found = _LINE.findall(_read_journal(self._descriptor))
            self._covered = max((int(length) for length, _digest in found), default=0)

    def passed(self, length: int, seen: Hash) -> None:
        """Add a line, every ``INTERVAL`` bytes."""
        if self._descriptor < 0 or length < self._noted + INTERVAL:
            return
        self._noted = length
        self._lines += _journal_line(length, seen)
        if length >= self._covered:
            with contextlib.suppress(OSError):  # the later run then continues at an earlier line
                count = os.pwrite(self._descriptor, self._lines, self._written)
                self._lines, self._written = self._lines[count:], self._written + count

    def close(self) -> None:
        """Close the journal, which stays for a later run."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def remove(self) -> None:
        """Remove the journal."""
        self.close()
        self._directory.remove(self._name)


#: The most bytes of the endings that are added to a stem.
LONGEST_SUFFIX = 32


def partial_name(stem: str) -> str:
    """Return the name of a partial file."""
    return f"{stem}.partial"


def journal_name(stem: str) -> str:
    """Return the name of a partial file's journal."""
    return f"{stem}.journal"


def marks_name(stem: str) -> str:
    """Return the name of the marks file of a download by pieces, beside its partial file."""
    return f"{stem}.pieces"


def held(directory: Optional[Directory], stem: str) -> int:
    """Return the bytes of disk space that a partial file uses."""
    state = directory.stat(partial_name(stem)) if directory else None
    return state.st_blocks * 512 if state else 0  # st_blocks counts units of 512 bytes (stat(2))


def kept_bytes(directory: Optional[Directory]) -> dict[str, int]:
    """Return the bytes of disk space that each partial file of a directory uses, by the stem of its name."""
    stems = [name.rpartition(".")[0] for name in directory.names() if name.endswith(".partial")] if directory else []
    return {stem: held(directory, stem) for stem in stems}


def abandoned(directory: Directory, kept: Collection[str], older_than: float) -> Iterator[tuple[str, int]]:
    """Yield the names of partial files and journals that no run will continue, with the disk space of each in bytes.

    :param kept: stems of the files and journals that a run will continue.
    :param older_than: the least seconds since the last write to such a file.
    """
    for name in directory.names():
        stem, _dot, kind = name.rpartition(".")
        if kind not in ("partial", "journal", "pieces") or stem in kept:
            continue
        state = directory.stat(name)
        if state is not None and time.time() - state.st_mtime >= older_than:
            yield name, state.st_blocks * 512


def _whole_blocks(data: memoryview) -> memoryview:
    """Extend a view within its buffer to whole blocks."""
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


def _read_journal(descriptor: int) -> bytes:
    return os.pread(descriptor, min(os.fstat(descriptor).st_size, _MAX_JOURNAL), 0)


def _journal_line(length: int, seen: Hash) -> bytes:
    return f"{length} {seen.hexdigest()}\n".encode()
