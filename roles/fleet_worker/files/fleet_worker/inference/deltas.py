# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of an answer, sent to the requester while Ollama is still at work.

A thread of the pool adds what Ollama says; the I/O thread publishes it. Between them is a bounded buffer: what is said
faster than the broker takes it goes out as one larger delta, and when the broker takes nothing at all the stream is
given up. The thread of the pool never waits, and the answer, which follows in full, is not touched by any of this.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Callable, Optional

from .._fleet.dialects.headers import ATTEMPT, DELTAS
from .._fleet.messages import Delta, Reply
from .._ollama.streams import Event
from ..domain.publication import Done, Publication
from ..logs.defects import contained
from .carried_pieces import CarriedPieces, WritePiece

#: Seconds between two deltas of one answer. The first goes at once; nobody reads faster than this, and each message
#: costs broker and requester about as much as a whole answer does.
INTERVAL = 0.05

#: Deltas of one answer that the broker has not confirmed yet, at most.
UNCONFIRMED = 8

#: Characters of one answer that wait to be sent, at most: some ten thousand tokens, minutes of a fast model.
MAX_WAITING = 65536

#: None for a delta that is too large. The requester misses it.
Write = Callable[[Delta], Optional[Reply]]


class DeltaPublisher:
    """The deltas of one request.

    :param loop: of the I/O thread.
    :param publish: publishes a delta; on the I/O thread.
    :param gone: called when there is nobody to send deltas to.
    """

    def __init__(self, loop: Any, publish: Callable[[Reply, Done], None], gone: Callable[[], None]) -> None:
        self._loop = loop
        self._publish = publish
        self._gone = gone
        #: Used instead of everything else here by a request that is carried.
        self.pieces = CarriedPieces(loop, publish, gone)
        self._lock = threading.Lock()
        # Under the lock.
        self._write: Optional[Write] = None
        self._attempt = ""
        self._sequence = 0
        self._waiting: list[Event] = []
        self._size = 0
        self._given_up = False
        self._look_asked = False
        # Of the I/O thread.
        self._unconfirmed = 0
        self._not_before = 0.0
        self._finished = False

    # Handler thread

    def use(self, write: Write) -> None:
        """Have deltas sent, made by ``write``."""
        self._write = write

    def carry(self, write: WritePiece) -> None:
        """The answer is carried as it comes, in pieces that are made by ``write``."""
        self.pieces.use(write)

    @property
    def wanted(self) -> bool:
        return self._write is not None

    def start_over(self) -> None:
        """Begin the answer anew, as another attempt."""
        with self._lock:
            self._attempt = uuid.uuid4().hex[:16]
            self._sequence = 0
            self._clear_waiting()
            self._given_up = False

    def add(self, event: Event) -> None:
        """Have a piece of the answer sent."""
        with self._lock:
            if self._given_up:
                return
            self._waiting.append(event)
            # What tool calls take is not text, and little; it is counted so that nothing is free.
            self._size += len(event.text) + len(event.thinking) + sum(len(str(call)) for call in event.tool_calls)
            if self._size > MAX_WAITING:
                self._clear_waiting()
                self._given_up = True
                # A number that nothing is sent under: the requester sees that what it has is not everything.
                self._sequence += 1
            if self._given_up or self._look_asked:
                return
            self._look_asked = True
        self._loop.add_callback_threadsafe(self._send_when_due)

    # I/O thread

    @property
    def count(self) -> Optional[int]:
        """Deltas, or pieces, of the last attempt; None when there is no stream."""
        return self._sequence if self._attempt else self.pieces.count

    def finish(self, answer: Optional[Reply]) -> Optional[Reply]:
        """Send what is left; return the answer, which says how many deltas precede it."""
        self._send_waiting()
        self._finished = True
        if self.pieces.begun:
            return self.pieces.finish(answer)
        if answer is None or not self._attempt:
            return answer
        headers = {**answer.message.headers, ATTEMPT: self._attempt, DELTAS: self._sequence}
        return replace(answer, message=replace(answer.message, headers=headers))

    def _send_when_due(self) -> None:
        """Send what waits, unless it is too early or too much is on its way."""
        wait = self._not_before - time.monotonic()
        if wait > 0 and not self._finished:
            self._loop.call_later(wait, self._send_when_due)
            return
        with self._lock:
            self._look_asked = False
        if self._unconfirmed < UNCONFIRMED:
            self._send_waiting()

    def _send_waiting(self) -> None:
        with self._lock:
            if self._finished or not self._waiting or self._write is None:
                return
            write, attempt, sequence, events = self._write, self._attempt, self._sequence, self._waiting
            self._sequence += 1
            self._clear_waiting()
        reply = contained(lambda: write(_delta(attempt, sequence, events)), self._give_up)
        if reply is None:
            return
        self._not_before = time.monotonic() + INTERVAL
        self._unconfirmed += 1
        self._publish(reply, self._published)

    def _published(self, publication: Publication) -> None:
        self._unconfirmed -= 1
        if self._finished:
            return
        if publication is Publication.RETURNED:
            self._gone()
            return
        if publication is Publication.UNACCEPTABLE:
            self._give_up(None)  # the next one would cost the channel again
            return
        with self._lock:
            if self._look_asked or not self._waiting:
                return
            self._look_asked = True
        self._send_when_due()

    def _give_up(self, _error: Optional[Exception]) -> None:
        """Send no more deltas of this attempt. The requester misses the one that was not sent."""
        with self._lock:
            self._clear_waiting()
            self._given_up = True

    def _clear_waiting(self) -> None:
        self._waiting = []
        self._size = 0


def _delta(attempt: str, sequence: int, events: Sequence[Event]) -> Delta:
    return Delta(
        attempt,
        sequence,
        content="".join(event.text for event in events),
        thinking="".join(event.thinking for event in events),
        tool_calls=tuple(call for event in events for call in event.tool_calls),
    )
