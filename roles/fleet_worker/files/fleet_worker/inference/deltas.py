# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deltas of an answer, sent to the requester while Ollama is still at work.

Between the thread of the pool, which adds what Ollama says, and the I/O thread is a bounded buffer: what is said faster
than the broker takes it goes out as one larger delta, and when the broker takes nothing at all the stream is given up.
The thread of the pool never waits, and the answer, which follows in full, is not touched by any of this.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from typing import Any, Callable, Optional

from .._fleet.messages import Delta, Reply
from .._ollama.streams import Event
from ..domain.publication import Done, Publication
from ..logs.defects import contained
from .carried_pieces import CarriedPieces, WritePiece
from .paced_publisher import PacedPublisher, with_count

#: Seconds between two deltas of one answer. Nobody reads faster than this, and each message costs broker and requester
#: about as much as a whole answer does.
INTERVAL = 0.05

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
        #: Of a request with deltas.
        self._pace: Optional[PacedPublisher] = None
        #: Used instead of everything else here by a request that is carried.
        self._pieces: Optional[CarriedPieces] = None
        self._lock = threading.RLock()
        # Under the lock.
        self._write: Optional[Write] = None
        self._attempt = ""
        self._sequence = 0
        self._waiting: list[Event] = []
        self._size = 0
        self._given_up = False

    # Handler thread

    def use(self, write: Write) -> None:
        """Have deltas sent, made by ``write``."""
        self._pace = PacedPublisher(self._loop, self._publish, self._gone, self, INTERVAL)
        self._write = write

    def carry(self, write: WritePiece) -> None:
        """The answer is carried as it comes, in pieces that are made by ``write``."""
        self._pieces = CarriedPieces(self._loop, self._publish, self._gone, write)

    @property
    def pieces(self) -> CarriedPieces:
        """The pieces of a request that is carried."""
        if self._pieces is None:
            raise RuntimeError("The request is not carried")
        return self._pieces

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
            if self._given_up or self._pace is None:
                return
            self._waiting.append(event)
            # What tool calls take is not text, and little; it is counted so that nothing is free.
            self._size += len(event.text) + len(event.thinking) + sum(len(str(call)) for call in event.tool_calls)
            if self._size > MAX_WAITING:
                self._give_up(None)
                # A number that nothing is sent under: the requester sees that what it has is not everything.
                self._sequence += 1
                return
        self._pace.ask_for_look()

    # I/O thread

    @property
    def count(self) -> Optional[int]:
        """Deltas, or pieces, of the last attempt; None when there is no stream."""
        if self._pieces is not None:
            return self._pieces.count
        return self._sequence if self._attempt else None

    def finish(self, answer: Optional[Reply]) -> Optional[Reply]:
        """Send what is left; return the answer, which says how many deltas precede it."""
        if self._pieces is not None:
            return self._pieces.finish(answer)
        if self._pace is not None:
            self._pace.finish()
        return with_count(answer, self._attempt, self._sequence)

    def waits(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._waiting) and self._write is not None

    def fills_a_message(self) -> bool:
        """No: one delta holds everything that waits."""
        return False

    def take(self) -> Optional[Reply]:
        """Return everything that waits as one delta; None when nothing waits, or when the delta is left out."""
        with self._lock:
            if not self._waiting or self._write is None:
                return None
            write, attempt, sequence, events = self._write, self._attempt, self._sequence, self._waiting
            self._sequence += 1
            self._clear_waiting()
        return contained(lambda: write(_delta(attempt, sequence, events)), self._give_up)

    def missed(self, publication: Publication) -> None:
        """A delta does not arrive. The requester sees that it misses one."""
        if publication is Publication.UNACCEPTABLE:
            self._give_up(None)  # the next one would cost the channel again

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
