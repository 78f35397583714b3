# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Records of verified blobs: which files were found to have their digest, and what they looked like then.

Hashing 40 GB takes most of a minute; looking at a file's state takes a microsecond. A file whose size, times and inode
are as they were when it was last hashed is trusted to be as it was. The device is not compared: after a reboot it may
have another number on NFS, btrfs and overlay file systems. Whoever can write the store can write the records too, and
gains nothing by it.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Container
from typing import Optional

from ..._ollama.json_text import read_json
from ..._ollama.safe_fs import Directory, Ownership
from ..._ollama.store import TEMPORARY

_FILE = "verified.json"
_FORMAT = 1

#: Bytes. 100,000 blobs need 14 MB.
_MAX_SIZE = 16 * 1024 * 1024

Signature = tuple[int, int, int, int]


def signature(state: os.stat_result) -> Signature:
    """Return what must be unchanged for a file to be trusted unread."""
    return (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


class VerificationRecords:
    """What is recorded of one store, and what this run adds; only :meth:`save` writes."""

    def __init__(self, workspace: Optional[Directory], *, believe: bool = True) -> None:
        """Read what is there.

        :param workspace: where the records lie; ``None`` when there is no such directory yet.
        :param believe: whether an earlier run's records count, or only what this run finds.
        """
        self._believed = _read(workspace) if believe else {}
        self._found: dict[str, Signature] = {}

    def knows(self, digest: str, state: os.stat_result) -> bool:
        """Return whether the file of a blob is as it was when it was verified."""
        return signature(state) in (self._found.get(digest), self._believed.get(digest))

    def note(self, digest: str, state: os.stat_result) -> None:
        """Record that a file has its digest, after the last touch of it."""
        self._found[digest] = signature(state)

    @property
    def outdated(self) -> bool:
        """Whether this run found what is not recorded."""
        return any(self._believed.get(digest) != seen for digest, seen in self._found.items())

    def save(self, workspace: Directory, present: Container[str], ownership: Ownership) -> None:
        """Write the records, whole or not at all; what others recorded meanwhile stays.

        :param present: the names of the files of all blobs; whatever else is recorded is dropped.
        """
        merged = {**_read(workspace), **self._found}
        kept = {digest: seen for digest, seen in sorted(merged.items()) if digest.replace(":", "-") in present}
        temporary = f"{TEMPORARY}{secrets.token_hex(8)}"
        content = json.dumps({"format": _FORMAT, "blobs": kept}, separators=(",", ":"))
        workspace.write(temporary, content.encode(), ownership)
        workspace.move(temporary, workspace, _FILE)


def _read(workspace: Optional[Directory]) -> dict[str, Signature]:
    """Return what is recorded; whatever is not as we write it is not believed."""
    raw = workspace.read(_FILE, _MAX_SIZE) if workspace else None
    if not raw:
        return {}
    try:
        content = read_json(raw)
        if content["format"] != _FORMAT:
            return {}
        return {digest: _signature(numbers) for digest, numbers in content["blobs"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _signature(numbers: object) -> Signature:
    if not isinstance(numbers, list) or not all(
        isinstance(number, int) and not isinstance(number, bool) for number in numbers
    ):
        raise TypeError
    size, mtime, ctime, inode = numbers
    return (size, mtime, ctime, inode)
