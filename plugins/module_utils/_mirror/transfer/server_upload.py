# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A running Ollama as a target of the transfer engine: what arrives from the mirror goes on to it at once.

The body of an upload is asked for piece by piece, by the thread that sends it, while the engine hands pieces out as
they come. Between the two lies a place for one piece: who gives hashes it meanwhile, and then waits until it is sent,
so that nothing is copied and nothing piles up.

The last byte of a blob is kept back until the digest of the whole is known to be right. Ollama keeps a whole upload
even when its digest is not the one that was announced, and so never gets a whole one that is wrong.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from typing import Callable, Optional

from ..._ollama.api_errors import UploadSourceError
from ..._ollama.calls import Call
from ..._ollama.client import OllamaClient
from .blob_transfer import Hash

#: Bytes sent between two looks at the clock: the client's timeout is that of one piece.
PIECE = 1024 * 1024


class ServerTarget:
    """One blob that a server takes.

    :param client: that makes no request twice, since what was sent cannot be had again.
    :param on_kept: is told, when the server has the blob, whether it was this upload that brought it.
    """

    def __init__(self, client: OllamaClient, digest: str, size: int, on_kept: Callable[[bool], None]) -> None:
        self._client = client
        self._digest = digest
        self._size = size
        self._on_kept = on_kept
        self._begin()

    def _begin(self) -> None:
        self._passage = _Passage()
        self._call = Call()
        self._last = b""
        self._brought = False
        self._error: Optional[BaseException] = None
        self._thread: Optional[threading.Thread] = None

    def begin(self) -> tuple[int, Hash]:
        """Start an upload; nothing is ever there from an earlier one."""
        self._begin()
        self._thread = threading.Thread(target=self._push, name=f"push-{self._digest[7:19]}", daemon=True)
        self._thread.start()
        return 0, hashlib.sha256()

    def write(self, offset: int, data: memoryview) -> None:
        """Do nothing yet: the server takes bytes in their order."""

    def reached(self, length: int, data: memoryview) -> None:
        """Begin to send bytes; they are hashed meanwhile."""
        if length == self._size:
            self._last = bytes(data[-1:])
            data = data[:-1]
        self._passage.give(data)

    def passed(self, length: int, data: memoryview, seen: Hash) -> None:
        """Wait until the bytes are sent.

        :raises OllamaError: when the server does not take them.
        """
        if not self._passage.taken():
            self._check()

    def cut(self, length: int) -> bool:
        """Return that nothing is of use to a later run."""
        return False

    def commit(self) -> None:
        """Send the last byte, and wait for the server to say that it has the blob.

        :raises OllamaError: when it says something else.
        """
        self._passage.give(memoryview(self._last))
        self._passage.taken()
        self._passage.end()
        self._wait()
        self._check()
        self._on_kept(self._brought)

    def suspend(self) -> None:
        """Break the upload off; the server keeps nothing of it."""
        self._passage.abort()
        self._call.cancel()
        self._wait()

    def discard(self) -> None:
        """Break the upload off."""
        self.suspend()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _check(self) -> None:
        # Without an error the server has got the blob from somebody else meanwhile, and needs no more of this one.
        if self._error is not None:
            raise self._error

    def _push(self) -> None:
        try:
            self._brought = self._client.push_blob(self._digest, self._passage, size=self._size, call=self._call)
        except BaseException as error:  # noqa: BLE001 - the thread that gives raises it
            self._error = error
        finally:
            self._passage.close()


class _Passage:
    """Pieces on their way from one thread to another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._piece: Optional[memoryview] = None
        self._ended = self._aborted = self._closed = False

    def give(self, piece: memoryview) -> None:
        """Hand a piece over; the one before was used."""
        with self._changed:
            if piece and not self._closed:
                self._piece = piece
                self._changed.notify_all()

    def taken(self) -> bool:
        """Wait until the piece was used; return whether it was."""
        with self._changed:
            self._changed.wait_for(lambda: self._piece is None or self._closed)
            return not self._closed

    def end(self) -> None:
        """Say that there are no more pieces."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Let whoever waits for a piece fail."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    def close(self) -> None:
        """Say that no more pieces are taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[memoryview]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._piece is not None or self._ended or self._aborted)
                if self._aborted:
                    raise UploadSourceError("The upload was broken off")
                if self._piece is None:
                    return
                piece = self._piece
            for start in range(0, len(piece), PIECE):
                yield piece[start : start + PIECE]
            with self._changed:
                self._piece = None
                self._changed.notify_all()
