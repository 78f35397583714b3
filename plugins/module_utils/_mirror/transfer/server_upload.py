# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A running Ollama as a target of the transfer engine: bytes that arrive from the mirror are sent on at once.

Two threads work on an upload: one sends the body and asks for it piece by piece, the other is a thread of the engine,
which has the pieces. A passage between them holds one piece. The engine's thread hashes the piece while it is sent, and
then waits until it is gone. So nothing is copied, and nothing piles up.

The last byte of a blob is sent only when the digest of the whole blob is known to be right: Ollama keeps a complete
upload even if its digest is not the one that was announced.
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

#: Bytes that are sent between two checks of the timeout: the client's timeout is that of one piece.
PIECE = 1024 * 1024


class ServerTarget:
    """The upload of one blob to a server.

    :param client: a client that makes no request twice: bytes that were sent cannot be read again.
    :param size: bytes of the blob.
    :param on_kept: is called when the server has the blob; it receives whether this upload brought the blob.
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
        """Start an upload. A server keeps nothing of an earlier one."""
        self._begin()
        self._thread = threading.Thread(target=self._push, name=f"push-{self._digest[7:19]}", daemon=True)
        self._thread.start()
        return 0, hashlib.sha256()

    def write(self, offset: int, data: memoryview) -> None:
        """Do nothing: the server takes bytes in order."""

    def reached(self, length: int, data: memoryview) -> None:
        """Begin to send bytes; the caller hashes them meanwhile."""
        if length == self._size:
            self._last = bytes(data[-1:])
            data = data[:-1]
        self._passage.give(data)

    def passed(self, length: int, data: memoryview, seen: Hash) -> None:
        """Wait until the bytes are sent.

        :raises OllamaError: if the server does not take them.
        """
        if not self._passage.taken():
            self._check()

    def cut(self, length: int) -> bool:
        """Return false: a later run cannot use anything of this upload."""
        return False

    def commit(self) -> None:
        """Send the last byte, and wait until the server confirms that it has the blob.

        :raises OllamaError: if the server does not confirm it.
        """
        self._passage.give(memoryview(self._last))
        self._passage.taken()
        self._passage.end()
        self._wait()
        self._check()
        self._on_kept(self._brought)

    def suspend(self) -> None:
        """Abort the upload; the server keeps nothing of it."""
        self._passage.abort()
        self._call.cancel()
        self._wait()

    def discard(self) -> None:
        """Abort the upload."""
        self.suspend()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _check(self) -> None:
        # Without an error, another upload has brought the blob meanwhile, and the server needs no more of this one.
        if self._error is not None:
            raise self._error

    def _push(self) -> None:
        try:
            self._brought = self._client.push_blob(self._digest, self._passage, size=self._size, call=self._call)
        except BaseException as error:  # noqa: BLE001 - the engine's thread raises it
            self._error = error
        finally:
            self._passage.close()


class _Passage:
    """A place for one piece on its way from the engine's thread to the sending thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._piece: Optional[memoryview] = None
        self._ended = self._aborted = self._closed = False

    def give(self, piece: memoryview) -> None:
        """Put a piece in; the piece before it was taken."""
        with self._changed:
            if piece and not self._closed:
                self._piece = piece
                self._changed.notify_all()

    def taken(self) -> bool:
        """Wait until the piece was sent; return whether it was."""
        with self._changed:
            self._changed.wait_for(lambda: self._piece is None or self._closed)
            return not self._closed

    def end(self) -> None:
        """End the body: there are no more pieces."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Make the sending thread fail."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    def close(self) -> None:
        """End the sending: no more pieces are taken."""
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
