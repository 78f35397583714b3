# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of a carried answer, sent while Ollama still works on the answer.

A thread of the pool adds Ollama's data to a bounded buffer, and the I/O thread publishes the data. A delta can be left
out, because the whole answer follows. A piece cannot. So a thread that is faster than the broker must wait, and with it
Ollama.

If a piece is lost before the answer is complete, the request is requeued. Nobody waits for the confirms of the last
pieces, because this would delay each answer; the requester counts the pieces, and sees such a loss.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any, Callable, Optional

from .._fleet.dialects.carried import AnswerPiece
from .._fleet.messages import Reply
from .._ollama.api_errors import CallCancelledError
from ..domain.publication import Done, Publication
from ..logs.defects import contained
from .paced_publisher import PacedPublisher, with_count

#: Seconds between two pieces of one answer. Readers do not notice so short a delay, and a message costs broker, worker
#: and requester about 0.1 ms each.
INTERVAL = 0.01

#: The most bytes of one answer in the buffer, and the most bytes of one piece.
MAX_WAITING = 256 * 1024
MAX_PIECE = 128 * 1024

#: Seconds between two checks whether the call of a waiting thread was cancelled.
LOOK = 0.25

#: Returns ``None`` for a piece that cannot be written.
WritePiece = Callable[[AnswerPiece], Optional[Reply]]


class CarriedPieces:
    """The pieces of one request.

    :param loop: the loop of the I/O thread.
    :param publish: publishes a piece, on the I/O thread.
    :param gone: called if the requester is gone.
    :param write: writes the message of a piece.
    """

    def __init__(
        self, loop: Any, publish: Callable[[Reply, Done], None], gone: Callable[[], None], write: WritePiece
    ) -> None:
        self._pace = PacedPublisher(loop, publish, gone, self, INTERVAL)
        self._write = write
        self._changed = threading.Condition()
        # Guarded by the condition
        self._attempt = ""
        self._head = (0, "")
        self._waiting = bytearray()
        self._lost = False
        # Only for the I/O thread
        self._sequence = 0

    # Handler thread

    @property
    def begun(self) -> bool:
        """Whether a part of the answer was sent, so that the requester would notice a restart of the work."""
        return bool(self._attempt)

    def add(self, data: bytes, status: int, content_type: str, check: Callable[[], None]) -> None:
        """Add a part of the answer; wait while the buffer is full.

        :param check: raises the error of a cancelled call to Ollama.
        :raises CallCancelledError: if a piece was lost, so that the requester cannot get the whole answer.
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
        """The number of sent pieces; ``None`` for an answer without pieces."""
        return self._sequence if self._attempt else None

    @property
    def lost(self) -> bool:
        """Whether a piece was lost so far, so that the requester cannot get the whole answer."""
        return self._lost

    def finish(self, answer: Optional[Reply]) -> Optional[Reply]:
        """Send the rest; return the answer with the number of its pieces."""
        self._pace.finish()
        return with_count(answer, self._attempt, self._sequence)

    def waits(self) -> bool:
        """Return whether data waits."""
        return bool(self._waiting) and not self._lost

    def fills_a_message(self) -> bool:
        """Return whether enough data for a piece of full size waits."""
        return len(self._waiting) >= MAX_PIECE

    def take(self) -> Optional[Reply]:
        """Return the next piece; ``None`` without data. A piece that cannot be written makes the answer incomplete."""
        with self._changed:
            if not self.waits():
                return None
            data = bytes(self._waiting[:MAX_PIECE])
            del self._waiting[:MAX_PIECE]
            self._changed.notify_all()
        status, content_type = self._head
        piece = AnswerPiece(self._attempt, self._sequence, data, status, content_type)
        reply = contained(lambda: self._write(piece), lambda _error: None)
        if reply is None:
            self._lose()
        else:
            self._sequence += 1
        return reply

    def missed(self, _publication: Publication) -> None:
        """Note that a piece was lost, so that the requester cannot get the whole answer."""
        self._lose()

    def _lose(self) -> None:
        with self._changed:
            self._lost = True
            self._waiting.clear()
            self._changed.notify_all()


class UnreceivedPieces:
    """The pieces of a request without a reply queue. Nobody receives them, so nothing is sent."""

    def __init__(self) -> None:
        self.begun = False

    def add(self, _data: bytes, _status: int, _content_type: str, _check: Callable[[], None]) -> None:
        """Drop a part of the answer."""
        self.begun = True
