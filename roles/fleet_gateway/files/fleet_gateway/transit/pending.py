# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An answer that arrives: pieces and end, checked for their order, and kept within bounds for the client."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Optional, Union

from .._fleet.dialects.carried import Ending, Piece
from ..domain.errors import GatewayError
from ..domain.homes import Place

Part = Union[Piece, Ending]


class PendingAnswer:
    """Receives the answer to one request, and passes it on. For one event loop.

    :param most: the most bytes that wait for the client.
    :param place: the place of a turn of a conversation.
    """

    def __init__(self, most: int, place: Optional[Place] = None) -> None:
        self._most = most
        self.place = place
        self._parts: deque[Part] = deque()
        self._size = 0
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
        if isinstance(part, Piece):
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
        part = self._parts.popleft()
        self._size -= len(part.body)
        return part

    def _arrive_piece(self, piece: Piece) -> None:
        if piece.attempt != self._attempt:
            if self._taken:
                self.fail(_broken("the node that answered was lost, and another one began anew"))
                return
            # The client has received nothing of the other attempt.
            self._parts.clear()
            self._size = 0
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
                self._parts.clear()
                self._size = self._expected = 0
            elif ending.attempt != self._attempt or pieces != self._expected:
                self.fail(_broken("a part of the answer was lost"))
                return
        self._put(ending)

    def _put(self, part: Part) -> None:
        self._size += len(part.body)
        if self._size > self._most:
            self.fail(GatewayError(503, "slow_client", "The client reads more slowly than the answer comes"))
            return
        self._parts.append(part)
        self._changed.set()


def _broken(why: str) -> GatewayError:
    return GatewayError(502, "answer_lost", f"The answer is not complete: {why}", retry_after=1)
