# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deltas of an answer, sent to the requester while Ollama still works on the answer.

A thread of the pool adds Ollama's output to a bounded buffer, and the I/O thread publishes it. If Ollama is faster than
the broker, the next delta is larger. If the broker takes nothing at all, the stream ends. The thread of the pool never
waits, and the whole answer follows in any case.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

from .._fleet.messages import Delta, Reply
from .._ollama.streams import Event
from ..domain.publication import Done, Publication
from ..logs.defects import contained
from .carried_pieces import CarriedPieces, UnreceivedPieces, WritePiece
from .paced_publisher import PacedPublisher, with_count

#: Seconds between two deltas of one answer. Nobody reads faster, and each message costs broker and requester about as
#: much as a whole answer.
INTERVAL = 0.05

#: The most characters of one answer in the buffer: some ten thousand tokens, minutes of a fast model.
MAX_WAITING = 65536

#: Returns ``None`` for a delta that is too large, which the requester does not get.
Write = Callable[[Delta], Optional[Reply]]


class DeltaPublisher:
    """The deltas of one request.

    :param loop: the loop of the I/O thread.
    :param publish: publishes a delta, on the I/O thread.
    :param gone: called if the requester is gone.
    """

    def __init__(self, loop: Any, publish: Callable[[Reply, Done], None], gone: Callable[[], None]) -> None:
        self._loop = loop
        self._publish = publish
        self._gone = gone
        #: For a request with deltas.
        self._pace: Optional[PacedPublisher] = None
        #: For a carried request, instead of everything else in this class.
        self._pieces: Optional[CarriedPieces] = None
        self._lock = threading.RLock()
        # Guarded by the lock
        self._write: Optional[Write] = None
        self._attempt = ""
        self._sequence = 0
        self._waiting: list[Event] = []
        self._size = 0
        self._given_up = False

    # Handler thread

    def use(self, write: Write) -> None:
        """Send deltas, which ``write`` turns into messages."""
        self._pace = PacedPublisher(self._loop, self._publish, self._gone, self, INTERVAL)
        self._write = write

    def carry(self, write: WritePiece) -> None:
        """Send pieces of a carried answer, which ``write`` turns into messages."""
        self._pieces = CarriedPieces(self._loop, self._publish, self._gone, write)

    @property
    def pieces(self) -> Union[CarriedPieces, UnreceivedPieces]:
        """The pieces of a carried request."""
        return self._pieces or UnreceivedPieces()

    @property
    def wanted(self) -> bool:
        return self._write is not None

    def start_over(self) -> None:
        """Begin another attempt, whose deltas replace those of the last one."""
        with self._lock:
            self._attempt = uuid.uuid4().hex[:16]
            self._sequence = 0
            self._clear_waiting()
            self._given_up = False

    def add(self, event: Event) -> None:
        """Add an event of Ollama's stream to the next delta."""
        with self._lock:
            if self._given_up or self._pace is None:
                return
            self._waiting.append(event)
            # Tool calls are small, but count too, so that no part of the buffer is without a limit.
            self._size += len(event.text) + len(event.thinking) + sum(len(str(call)) for call in event.tool_calls)
            if self._size > MAX_WAITING:
                self._give_up(None)
                # A skipped number shows the requester that it lacks a delta.
                self._sequence += 1
                return
        self._pace.ask_for_look()

    # I/O thread

    @property
    def count(self) -> Optional[int]:
        """The number of deltas or pieces of the last attempt; ``None`` without a stream."""
        if self._pieces is not None:
            return self._pieces.count
        return self._sequence if self._attempt else None

    @property
    def lost(self) -> bool:
        """Whether the requester cannot get the whole answer, because a piece was lost."""
        return self._pieces is not None and self._pieces.lost

    def finish(self, answer: Optional[Reply]) -> Optional[Reply]:
        """Send the rest; return the answer with the number of its deltas."""
        if self._pieces is not None:
            return self._pieces.finish(answer)
        if self._pace is not None:
            self._pace.finish()
        return with_count(answer, self._attempt, self._sequence)

    def waits(self) -> bool:
        """Return whether events wait."""
        return bool(self._waiting) and self._write is not None

    def fills_a_message(self) -> bool:
        """Return False: one delta has all waiting events."""
        return False

    def take(self) -> Optional[Reply]:
        """Return all waiting events as one delta; ``None`` without events, or if the delta is too large."""
        with self._lock:
            if not self._waiting or self._write is None:
                return None
            write, attempt, sequence, events = self._write, self._attempt, self._sequence, self._waiting
            self._sequence += 1
            self._clear_waiting()
        return contained(lambda: write(_delta(attempt, sequence, events)), self._give_up)

    def missed(self, publication: Publication) -> None:
        """Note that a delta was lost. The requester sees the gap in the numbers."""
        if publication is Publication.UNACCEPTABLE:
            self._give_up(None)  # the next delta would close the channel again

    def _give_up(self, _error: Optional[Exception]) -> None:
        """Send no more deltas of this attempt. The requester sees the gap in the numbers."""
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
