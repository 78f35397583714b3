# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An answer that arrives: pieces and end, checked for their order, and kept within bounds for the client."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Optional, Union

from .._fleet.dialects.carried import AnswerPiece, Ending
from ..domain.errors import GatewayError
from ..domain.homes import Place

Part = Union[AnswerPiece, Ending]

#: Seconds without a read after which a client counts as not reading.
PATIENCE = 5.0

#: The limit of all waiting answers together, as a multiple of the limit of one answer: 256 MiB for 8 MiB.
SHARES = 32


class UnreadBytes:
    """The bytes of all answers that wait for their clients.

    A node sends an answer faster than most clients read, and no answer on the reply queue waits for an acknowledgement.
    So a large answer waits here, as long as its client reads and all answers together have room.

    :param most: the most bytes of an answer whose client does not read.
    :param total: the most bytes of all answers. An answer with at most ``most`` bytes may exceed them.
    :param patience: seconds without a read after which a client counts as not reading.
    """

    def __init__(self, most: int, total: Optional[int] = None, patience: float = PATIENCE) -> None:
        self._most = most
        self._total = SHARES * most if total is None else total
        self._patience = patience
        self.held = 0

    def allows(self, size: int, since: float) -> bool:
        """Return whether an answer may have ``size`` bytes waiting.

        :param since: when the client took the last part, or could have taken the first one; on the monotonic clock.
        """
        if size <= self._most:
            return True
        return self.held <= self._total and time.monotonic() - since <= self._patience


class PendingAnswer:
    """Receives the answer to one request, and passes it on. For one event loop.

    :param unread: the bytes of all answers that wait for their clients.
    :param place: the place of a turn of a conversation.
    """

    def __init__(self, unread: UnreadBytes, place: Optional[Place] = None) -> None:
        self._unread = unread
        self.place = place
        self._parts: deque[Part] = deque()
        self._size = 0
        self._since = 0.0
        self._attempt: Optional[str] = None
        self._expected = 0
        self._taken = False
        self._trouble: Optional[GatewayError] = None
        self._changed = asyncio.Event()
        #: The node that answers; ``None`` before the end of the answer.
        self.node: Optional[str] = None

    def arrive(self, part: Part) -> None:
        """Receive a piece of the answer, or its end."""
        if self._trouble is not None:
            return
        if isinstance(part, AnswerPiece):
            self._arrive_piece(part)
        else:
            self._arrive_end(part)

    def fail(self, trouble: GatewayError) -> None:
        """End the answer with an error."""
        if self._trouble is None:
            self._trouble = trouble
            self._changed.set()

    async def next(self) -> Part:
        """Wait for the next part, and return it.

        :raises GatewayError: if the answer has failed.
        """
        while not self._parts:
            if self._trouble is not None:
                raise self._trouble
            self._changed.clear()
            await self._changed.wait()
        self._taken = True
        self._since = time.monotonic()
        part = self._parts.popleft()
        self._hold(-len(part.body))
        return part

    def discard(self) -> None:
        """Discard the parts that nobody has taken."""
        self._parts.clear()
        self._hold(-self._size)

    def _arrive_piece(self, piece: AnswerPiece) -> None:
        if piece.attempt != self._attempt:
            if self._taken:
                self.fail(
                    _broken("the node that sent the first pieces was lost, and another attempt started the answer over")
                )
                return
            # The client has received nothing of the other attempt.
            self.discard()
            self._attempt, self._expected = piece.attempt, 0
        if piece.sequence < self._expected:
            return  # a worker publishes a piece again if the broker does not confirm it
        if piece.sequence > self._expected:
            self.fail(_broken("a piece of the answer was lost"))
            return
        self._expected += 1
        self._put(piece)

    def _arrive_end(self, ending: Ending) -> None:
        self.node = ending.node
        pieces = ending.pieces or 0
        if ending.failure is None and (pieces or self._expected):
            if ending.attempt != self._attempt and not self._taken and not pieces:
                self.discard()
                self._expected = 0
            elif ending.attempt != self._attempt or pieces != self._expected:
                self.fail(_broken("a part of the answer was lost"))
                return
        self._put(ending)

    def _put(self, part: Part) -> None:
        if not self._parts:
            self._since = time.monotonic()
        self._hold(len(part.body))
        self._parts.append(part)
        if self._unread.allows(self._size, self._since):
            self._changed.set()
        else:
            self.discard()
            self.fail(GatewayError(503, "slow_client", "The client reads more slowly than the answer comes"))

    def _hold(self, size: int) -> None:
        self._size += size
        self._unread.held += size


def _broken(why: str) -> GatewayError:
    return GatewayError(502, "answer_lost", f"The answer is not complete: {why}", retry_after=1)
