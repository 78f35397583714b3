# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The stream of bytes from one answer to the transfer engine."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from .error_translation import translated

if TYPE_CHECKING:
    from .settings import S3Settings


class Body(Protocol):
    """The body of an answer."""

    def readinto(self, view: memoryview) -> int:
        """Receive bytes, and return how many; 0 at the end, even if the end comes too early."""

    def close(self) -> None:
        """Release the connection for the next request if the whole body was read, else close it."""


class ObjectStream:
    """The bytes of one answer, with typed errors.

    :param length: bytes that the answer must have.
    :param url: the object, as messages name it.
    """

    def __init__(self, body: Body, length: int, settings: S3Settings, url: str) -> None:
        self._body = body
        self._left = length
        self._settings = settings
        self._url = url

    def readinto(self, view: memoryview) -> int:
        """Receive some bytes, at least one, and return how many.

        :raises MirrorUnreachableError: if the connection breaks, or the answer is too short.
        """
        with translated(self._settings, f"read {self._url}"):
            count = self._body.readinto(view)
            if not count:
                raise ConnectionResetError(errno.ECONNRESET, f"the answer ended {self._left} bytes early")
        self._left -= count
        return count

    def close(self) -> None:
        """Release the answer."""
        self._body.close()
