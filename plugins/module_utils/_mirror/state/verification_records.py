# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Records of verified blobs: the state of each file when it was hashed and had the right digest.

Hashing 40 GB takes most of a minute; reading a file's state takes a microsecond. A file is trusted to be unchanged if
its size, times and inode are the same as when it was last hashed. The device is not compared: after a reboot, file
systems such as NFS, btrfs and overlay may give it another number. A user who can write the records can also write the
store, and so gains nothing by changing them.
"""

from __future__ import annotations

import os
from collections.abc import Container
from typing import Optional

from ..._ollama.safe_fs import Directory, Ownership
from .record_file import read_records, write_records

_FILE = "verified.json"
_KIND = "blobs"

Signature = tuple[int, int, int, int]


def signature(state: os.stat_result) -> Signature:
    """Return the values that must be unchanged for a file to be trusted without reading it."""
    return (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


class VerificationRecords:
    """The records of one store, with those of this run. Only :meth:`save` writes the file."""

    def __init__(self, workspace: Optional[Directory], *, believe: bool = True) -> None:
        """Read the records.

        :param workspace: the directory with the records; ``None`` if there is none yet.
        :param believe: whether the records of earlier runs count, or only those of this run.
        """
        self._believed = _read(workspace) if believe else {}
        self._found: dict[str, Signature] = {}

    def knows(self, digest: str, state: os.stat_result) -> bool:
        """Return whether the file of a blob is unchanged since it was verified."""
        return signature(state) in (self._found.get(digest), self._believed.get(digest))

    def note(self, digest: str, state: os.stat_result) -> None:
        """Record that a file has its digest. Call this after the last change of the file."""
        self._found[digest] = signature(state)

    @property
    def outdated(self) -> bool:
        """Whether this run has verified files that are not recorded."""
        return any(self._believed.get(digest) != seen for digest, seen in self._found.items())

    def save(self, workspace: Directory, present: Container[str], ownership: Ownership) -> None:
        """Write the records atomically. Records that other processes wrote meanwhile stay.

        :param present: the file names of all blobs; records of other files are dropped.
        """
        merged = {**_read(workspace), **self._found}
        kept = {digest: seen for digest, seen in merged.items() if digest.replace(":", "-") in present}
        write_records(workspace, _FILE, _KIND, kept, ownership)


def _read(workspace: Optional[Directory]) -> dict[str, Signature]:
    """Return the recorded states by digest; empty if the file or a record in it is invalid."""
    try:
        return {digest: _signature(numbers) for digest, numbers in read_records(workspace, _FILE, _KIND).items()}
    except (ValueError, TypeError):
        return {}


def _signature(numbers: object) -> Signature:
    if not isinstance(numbers, list) or not all(
        isinstance(number, int) and not isinstance(number, bool) for number in numbers
    ):
        raise TypeError
    size, mtime, ctime, inode = numbers
    return (size, mtime, ctime, inode)
