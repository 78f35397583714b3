# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of an answer that is carried as it comes, while Ollama is still at work.

A thread of the pool adds what Ollama sends; the I/O thread publishes it. Between them is a bounded buffer. Unlike a
delta, a piece cannot be left out, because nothing follows that has everything: a thread that adds more than the broker
takes has to wait, and with it Ollama.

The first piece goes at once, and each that follows as soon as fewer than ``UNCONFIRMED`` are on their way.
"""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import replace
from typing import Any, Callable, Optional

from .._fleet.dialects.carried import Piece
from .._fleet.dialects.headers import ATTEMPT, DELTAS
from .._fleet.messages import Reply
from .._ollama.api_errors import CallCancelledError
from ..domain.publication import Done, Publication
from ..logs.defects import contained

#: Seconds between two pieces of one answer. A token more or less in a message is nothing that a reader sees, and a
#: message costs broker, worker and requester about 0.1 ms each.
INTERVAL = 0.01

#: Pieces of one answer that the broker has not confirmed, at most.
UNCONFIRMED = 8

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
    """

    def __init__(self, loop: Any, publish: Callable[[Reply, Done], None], gone: Callable[[], None]) -> None:
        self._loop = loop
        self._publish = publish
        self._gone = gone
        self._changed = threading.Condition()
        # Under the condition.
        self._write: Optional[WritePiece] = None
        self._attempt = ""
        self._head = (0, "")
        self._waiting = bytearray()
        self._lost = False
        self._look_asked = False
        # Of the I/O thread.
        self._sequence = 0
        self._unconfirmed = 0
        self._not_before = 0.0
        self._finished = False

    # Handler thread

    def use(self, write: WritePiece) -> None:
        """Pieces are made by ``write``."""
        self._write = write

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
            look, self._look_asked = not self._look_asked, True
        if look:
            self._loop.add_callback_threadsafe(self._look)
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
        while self._waiting and not self._lost:
            self._send()
        self._finished = True
        if answer is None or not self._attempt:
            return answer
        headers = {**answer.message.headers, ATTEMPT: self._attempt, DELTAS: self._sequence}
        return replace(answer, message=replace(answer.message, headers=headers))

    def _look(self) -> None:
        """Send what waits, unless it is too early or too much is on its way."""
        wait = self._not_before - time.monotonic()
        if wait > 0 and not self._finished:
            self._loop.call_later(wait, self._look)
            return
        with self._changed:
            self._look_asked = False
        while self._waiting and not self._lost and not self._finished and self._unconfirmed < UNCONFIRMED:
            self._send()

    def _send(self) -> None:
        with self._changed:
            data = bytes(self._waiting[:MAX_PIECE])
            del self._waiting[:MAX_PIECE]
            write = self._write
            self._changed.notify_all()
        status, content_type = self._head
        piece = Piece(self._attempt, self._sequence, data, status, content_type)
        reply = contained(lambda: None if write is None else write(piece), lambda _error: None)
        if reply is None:
            self._lose()
            return
        self._sequence += 1
        self._unconfirmed += 1
        self._not_before = time.monotonic() + INTERVAL
        self._publish(reply, self._published)

    def _published(self, publication: Publication) -> None:
        self._unconfirmed -= 1
        if publication is not Publication.CONFIRMED:
            self._lose()
            if publication is Publication.RETURNED and not self._finished:
                self._gone()
            return
        with self._changed:
            look = bool(self._waiting) and not self._look_asked
            self._look_asked = self._look_asked or look
        if look and not self._finished:
            self._look()

    def _lose(self) -> None:
        with self._changed:
            self._lost = True
            self._waiting.clear()
            self._changed.notify_all()
