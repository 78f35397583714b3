# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The choice of the node for a turn of a conversation: a node that has the beginning in memory answers much sooner.

Each conversation has an order of all nodes (rendezvous hashing). A turn goes to the first node of that order that has a
free slot, as far as this gateway knows. So a new or lost node moves only its own conversations, gateways need not talk
to each other, and many conversations with the same beginning do not crowd one node.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, Optional

from .fleet_view import OwnLane

#: Seconds without conversations for a node that has not taken a turn in time: the node is dead, or busy.
REST = 5.0

#: Places of a turn: the home, which is the first node of the order; the next node, because the home was full or has
#: just missed a turn; the lane of all nodes.
HOME, NEXT, LANE = "home", "next", "lane"


@dataclass(frozen=True)
class Place:
    """The destination of a turn.

    :ivar home: the first node of the conversation's order.
    :ivar lane: the lane of the chosen node; ``None`` for the lane of all nodes.
    """

    home: str
    lane: Optional[OwnLane]

    def kept_by(self, node: Optional[str]) -> str:
        """Return the place of a turn that a node has answered."""
        if node == self.home:
            return HOME
        return NEXT if self.lane is not None and node == self.lane.node else LANE


class Homes:
    """Chooses the node of each turn. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: The turns that each node runs for this gateway, and the end of its time without turns.
        self._out: dict[str, int] = {}
        self._rests: dict[str, float] = {}

    def choose(self, turn_of: Callable[[], Optional[bytes]], lanes: Sequence[OwnLane]) -> Optional[Place]:
        """Return the destination of a turn; ``None`` if any node will do.

        :param turn_of: returns the conversation, if the request belongs to one.
        :param lanes: the own lanes of the nodes that may answer.
        """
        conversation = turn_of() if len(lanes) > 1 else None
        if conversation is None:
            return None
        order = sorted(lanes, key=lambda lane: _score(conversation, lane.node), reverse=True)
        return Place(order[0].node, next((lane for lane in order if self._takes(lane)), None))

    @contextmanager
    def turn(self, place: Optional[Place]) -> Iterator[None]:
        """Count a turn while it is unanswered."""
        node = None if place is None or place.lane is None else place.lane.node
        if node is None:
            yield
            return
        self._out[node] = self._out.get(node, 0) + 1
        try:
            yield
        finally:
            self._out[node] -= 1
            if not self._out[node]:
                del self._out[node]

    def answered(self, place: Place, node: Optional[str]) -> None:
        """Note which node has answered. If another node was asked, it gets no turns for some time."""
        if place.lane is not None and node is not None and node != place.lane.node:
            self.missed(place)

    def missed(self, place: Place) -> None:
        """Note that the chosen node has not taken a turn."""
        if place.lane is not None:
            self._rests[place.lane.node] = self._clock() + REST

    def _takes(self, lane: OwnLane) -> bool:
        if self._out.get(lane.node, 0) >= lane.slots:
            return False
        until = self._rests.get(lane.node)
        if until is not None and until <= self._clock():
            del self._rests[lane.node]
            until = None
        return until is None


def _score(conversation: bytes, node: str) -> bytes:
    return hashlib.blake2b(node.encode("utf-8", "surrogatepass"), key=conversation, digest_size=8).digest()
