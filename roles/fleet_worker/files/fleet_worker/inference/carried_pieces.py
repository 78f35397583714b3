# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of an answer that is carried as it comes, while Ollama is still at work.

Between the thread of the pool, which adds what Ollama sends, and the I/O thread is a bounded buffer. Unlike a delta, a
piece cannot be left out, because nothing follows that has everything: a thread that adds more than the broker takes has
to wait, and with it Ollama.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any, Callable, Optional

from .._fleet.dialects.carried import Piece
from .._fleet.messages import Reply
from .._ollama.api_errors import CallCancelledError
from ..domain.publication import Done, Publication
from ..logs.defects import contained
from .paced_publisher import PacedPublisher, with_count

#: Seconds between two pieces of one answer. A token more or less in a message is nothing that a reader sees, and a
#: message costs broker, worker and requester about 0.1 ms each.
INTERVAL = 0.01

#: Bytes of one answer that wait to be published before its thread waits, and bytes of one piece.
MAX_WAITING = 256 * 1024
MAX_PIECE = 128 * 1024

#: Seconds between two looks whether a call that waits for the broker was ended.
LOOK = 0.25

#: None for a piece that cannot be published.
WritePiece = Callable[[Piece], Optional[Reply]]


class CarriedPieces:
    """The pieces of one request.

    :param loop: of the I/O thread.
    :param publish: publishes a piece; on the I/O thread.
    :param gone: called when there is nobody to send pieces to.
    :param write: makes the message of a piece.
    """

    def __init__(
        self, loop: Any, publish: Callable[[Reply, Done], None], gone: Callable[[], None], write: WritePiece
    ) -> None:
        self._pace = PacedPublisher(loop, publish, gone, self, INTERVAL)
        self._write = write
        self._changed = threading.Condition()
        # Under the condition.
        self._attempt = ""
        self._head = (0, "")
        self._waiting = bytearray()
        self._lost = False
        # Of the I/O thread.
        self._sequence = 0

    # Handler thread

    @property
    def begun(self) -> bool:
        """Whether a part of the answer is on its way, so that the work cannot start over unseen."""
        return bool(self._attempt)

    def add(self, data: bytes, status: int, content_type: str, check: Callable[[], None]) -> None:
        """Have a part of the answer sent; wait while too much of it waits to be sent.

        :param check: raises what has ended the call to Ollama.
        :raises CallCancelledError: when a piece was lost, so that the answer can no longer be whole.
        """
        with self._changed:
            self._attempt = self._attempt or uuid.uuid4().hex[:16]
            self._head = (status, content_type)
            self._waiting += data
        self._pace.ask_for_look()
        with self._changed:
            while not self._lost and len(self._waiting) > MAX_WAITING:
                self._changed.wait(LOOK)
                check()
            if self._lost:
                raise CallCancelledError("A piece of the answer was lost on its way to the requester")

    # I/O thread

    @property
    def count(self) -> Optional[int]:
        """Pieces that were sent; None when the answer has none."""
        return self._sequence if self._attempt else None

    def finish(self, answer: Optional[Reply]) -> Optional[Reply]:
        """Send what is left; return the answer, which says how many pieces precede it."""
        self._pace.finish()
        return with_count(answer, self._attempt, self._sequence)

    def waits(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._waiting) and not self._lost

    def fills_a_message(self) -> bool:
        """Whether a whole piece waits."""
        return len(self._waiting) >= MAX_PIECE

    def take(self) -> Optional[Reply]:
        """Return the next piece; None when nothing waits. One that cannot be made loses the answer."""
        with self._changed:
            if not self.waits():
                return None
            data = bytes(self._waiting[:MAX_PIECE])
            del self._waiting[:MAX_PIECE]
            self._changed.notify_all()
        status, content_type = self._head
        piece = Piece(self._attempt, self._sequence, data, status, content_type)
        reply = contained(lambda: self._write(piece), lambda _error: None)
        if reply is None:
            self._lose()
        else:
            self._sequence += 1
        return reply

    def missed(self, _publication: Publication) -> None:
        """A piece does not arrive, and with it no whole answer."""
        self._lose()

    def _lose(self) -> None:
        with self._changed:
            self._lost = True
            self._waiting.clear()
            self._changed.notify_all()
