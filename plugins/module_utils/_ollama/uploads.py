# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The body of an upload: a file, or an iterator of known length."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import Callable, Optional, Union

from .api_errors import UploadSourceError

_PIECE = 1024 * 1024

Piece = Union[bytes, memoryview]
Source = Union[str, "os.PathLike[str]", Iterable[Piece]]


class Upload:
    """A request body of a known length.

    :param source: a path, or an iterable of bytes. Only a path can be sent again after a failure.
    :param size: the length in bytes, required for an iterable; None takes the size of the file.
    :param on_bytes: called after each sent piece with its number of bytes.
    :raises UploadSourceError: when the file cannot be read, or the size of an iterable is missing; while iterating,
        when the source is shorter or longer than ``size``.
    """

    def __init__(
        self, source: Source, size: Optional[int] = None, *, on_bytes: Callable[[int], None] = lambda count: None
    ) -> None:
        self._on_bytes = on_bytes
        self._path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
        self._pieces = None if isinstance(source, (str, os.PathLike)) else source
        if self._path is not None and size is None:
            try:
                size = os.stat(self._path).st_size
            except OSError as error:
                raise _unusable(self._path, error.strerror or str(error)) from error
        if size is None:
            raise UploadSourceError("The size of an upload from an iterator is missing")
        self._size = size

    @property
    def repeatable(self) -> bool:
        """Whether the source can be read a second time."""
        return self._path is not None

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Piece]:
        sent = 0
        for piece in self._read():
            sent += len(piece)
            if sent > self._size:
                raise self._failed(f"it is longer than the {self._size} bytes announced")
            yield piece
            self._on_bytes(len(piece))
        if sent < self._size:
            raise self._failed(f"it ended after {sent} of {self._size} bytes")

    def _read(self) -> Iterator[Piece]:
        if self._path is None:
            yield from self._pieces or ()
            return
        yield from _pieces_of(self._path)

    def _failed(self, reason: str) -> UploadSourceError:
        return _unusable(self._path, reason)


def digest_and_size(path: str) -> tuple[str, int]:
    """Return the digest and the size in bytes of a file.

    :raises UploadSourceError: when the file cannot be read.
    """
    hashed, size = hashlib.sha256(), 0
    for piece in _pieces_of(path):
        hashed.update(piece)
        size += len(piece)
    return "sha256:" + hashed.hexdigest(), size


def _pieces_of(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            while True:
                piece = file.read(_PIECE)
                if not piece:
                    return
                yield piece
    except OSError as error:
        # Only read errors arrive here; send errors are raised in the sender, not in this generator.
        raise _unusable(path, error.strerror or str(error)) from error


def _unusable(path: Optional[str], reason: str) -> UploadSourceError:
    what = "The data to upload" if path is None else f"The file {path}"
    return UploadSourceError(
        f"{what} cannot be sent: {reason}",
        remedy="Check that it exists, can be read and does not change while it is uploaded",
        path=path,
    )
