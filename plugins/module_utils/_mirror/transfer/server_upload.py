# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A running Ollama server as a target of the transfer engine: bytes from the mirror are sent on immediately.

Two threads work on an upload: a thread of the engine, which has the pieces, and a thread that sends the body piece by
piece. The object between them holds one piece. The engine's thread hashes the piece while the other thread sends it,
and then waits until it is sent. So no piece is copied, and pieces do not pile up.

The last byte of a blob is sent only after the digest of the whole blob was checked, because Ollama keeps a complete
upload even if it has another digest than announced.
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

#: Bytes that are sent between two checks of the timeout: the client's timeout is for one piece.
PIECE = 1024 * 1024


class ServerTarget:
    """The upload of one blob to a server.

    :param client: a client without retries, because sent bytes cannot be read again.
    :param size: bytes of the blob.
    :param on_kept: called when the server has the blob, with whether the blob came from this upload.
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
        """Start an upload from the first byte: the server does not keep an incomplete upload."""
        self._begin()
        self._thread = threading.Thread(target=self._push, name=f"push-{self._digest[7:19]}", daemon=True)
        self._thread.start()
        return 0, hashlib.sha256()

    def write(self, offset: int, data: memoryview) -> None:
        """Do nothing: the server needs the bytes in order."""

    def reached(self, length: int, data: memoryview) -> None:
        """Begin to send bytes. The caller hashes them meanwhile."""
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
        """Return false: a later run cannot use any byte of this upload."""
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
        """Abort the upload; the server does not keep its bytes."""
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
        # If there is no error, the server has got the blob from another upload, and needs no more bytes of this one.
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
    """Holds the one piece that the engine's thread passes to the sending thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._piece: Optional[memoryview] = None
        self._ended = self._aborted = self._closed = False

    def give(self, piece: memoryview) -> None:
        """Pass a piece on. The piece before it must have been sent."""
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
        """End the passage: the sending thread takes no more pieces."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[memoryview]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._piece is not None or self._ended or self._aborted)
                if self._aborted:
                    raise UploadSourceError("The upload was aborted")
                if self._piece is None:
                    return
                piece = self._piece
            for start in range(0, len(piece), PIECE):
                yield piece[start : start + PIECE]
            with self._changed:
                self._piece = None
                self._changed.notify_all()
