# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A transfer: one blob, the source that its bytes come from, and the target that they go to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Protocol

from ..._ollama.errors import CollectionError


class RangeStream(Protocol):
    """The answer to one request for a byte range."""

    def readinto(self, view: memoryview) -> int:
        """Receive some bytes, at least one, and return how many.

        :raises MirrorUnreachableError: when the connection breaks, or the answer is too short.
        """

    def close(self) -> None:
        """Release the answer, whether it was read to its end or not."""


class Source(Protocol):
    """Where the bytes of one blob come from. Several threads use a source at the same time."""

    def open(self, start: int, stop: int) -> RangeStream:
        """Ask for the bytes from ``start`` up to ``stop``, exclusive.

        :raises ObjectChangedError: if the object is no longer the one that was opened first.
        """

    def refresh(self) -> None:
        """Read from the object that is there now, if it can still be the same blob."""


class Hash(Protocol):
    """What the engine needs of hashlib's objects."""

    def update(self, data: Any, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


class Target(Protocol):
    """Where the bytes of one blob go. Except for :meth:`write`, one thread at a time calls a target."""

    def begin(self) -> tuple[int, Hash]:
        """Prepare; return how many bytes an earlier run has left, and a hash that has seen these bytes."""

    def write(self, offset: int, data: memoryview) -> None:
        """Take bytes, from several threads and in any order.

        :param data: the beginning of a buffer of whole pages; a target may overwrite the rest of the buffer.
        """

    def reached(self, length: int, data: memoryview) -> None:
        """Take bytes in order: those up to ``length``, which have been written and are not yet hashed.

        :meth:`passed` is called for the same bytes next; ``data`` stays as it is until that call returns.
        """

    def passed(self, length: int, data: memoryview, seen: Hash) -> None:
        """Take note that the bytes up to ``length`` are written and hashed.

        :param data: the last of these bytes.
        :param seen: a hash that has seen these bytes and no others.
        """

    def cut(self, length: int) -> bool:
        """Drop the bytes behind ``length``; return whether a later run could use more bytes."""

    def commit(self) -> None:
        """Put the blob in place. It is complete, and its digest is right."""

    def suspend(self) -> None:
        """Keep the bytes for a later run."""

    def discard(self) -> None:
        """Remove the bytes; :meth:`begin` may be called again."""


@dataclass
class Transfer:
    """One blob on its way from a source to a target.

    :param size: in bytes; the source has exactly as many.
    :ivar received: bytes that came over the network in this run.
    :ivar resumed: bytes that an earlier run had left.
    :ivar error: why this blob could not be transferred, while others might.
    """

    digest: str
    size: int
    source: Source
    target: Target
    received: int = 0
    resumed: int = 0
    error: Optional[CollectionError] = None
