# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The transfer of one blob from a source to a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Protocol

from ..._ollama.errors import CollectionError


class RangeStream(Protocol):
    """The answer to one request for a byte range."""

    def readinto(self, view: memoryview) -> int:
        """Receive some bytes, at least one, and return how many.

        :raises MirrorUnreachableError: if the connection breaks, or the answer is too short.
        """

    def close(self) -> None:
        """Release the answer, read completely or not."""


class Source(Protocol):
    """The source of the bytes of one blob. Several threads use a source at the same time.

    :ivar version: how often another object has taken the place of the first one.
    """

    version: int

    def open(self, start: int, stop: int) -> RangeStream:
        """Ask for the bytes from ``start`` up to ``stop``, exclusive.

        :raises ObjectChangedError: if the object is no longer the one that was opened first.
        """

    def refresh(self, version: int) -> bool:
        """Read from the object that has replaced the one of a version, if it can be the same blob.

        :return: whether this call has looked for the new object; false if another thread has done so.
        """


class Hash(Protocol):
    """The methods of a hashlib object that the engine uses."""

    def update(self, data: Any, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


class Target(Protocol):
    """The target of the bytes of one blob. Except for :meth:`write`, only one thread at a time calls a target."""

    def begin(self) -> tuple[int, Hash]:
        """Prepare; return the number of bytes from an earlier run, and the hash of these bytes."""

    def write(self, offset: int, data: memoryview) -> None:
        """Write bytes at an offset. Several threads call this in any order.

        :param data: the beginning of a buffer of whole pages; a target may overwrite the rest of the buffer.
        """

    def reached(self, length: int, data: memoryview) -> None:
        """Take the next bytes in order, up to ``length``, which are written and not yet hashed.

        The engine calls :meth:`passed` for the same bytes next, and does not change ``data`` until that call returns.
        """

    def passed(self, length: int, data: memoryview, seen: Hash) -> None:
        """Record that the bytes up to ``length`` are written and hashed.

        :param data: the last of these bytes.
        :param seen: the hash of exactly these bytes.
        """

    def cut(self, length: int) -> bool:
        """Drop the bytes after ``length``; return whether a later run could use more bytes."""

    def commit(self) -> None:
        """Put the complete blob in place. The engine calls this only after it has checked the digest."""

    def suspend(self) -> None:
        """Keep the bytes for a later run."""

    def discard(self) -> None:
        """Remove the bytes; :meth:`begin` may be called again."""


@dataclass
class Transfer:
    """The transfer of one blob.

    :param size: the exact size of the blob in bytes.
    :ivar received: bytes from the network in this run.
    :ivar resumed: bytes from an earlier run.
    :ivar error: the error that ended this transfer and does not concern other blobs.
    """

    digest: str
    size: int
    source: Source
    target: Target
    received: int = 0
    resumed: int = 0
    error: Optional[CollectionError] = None
