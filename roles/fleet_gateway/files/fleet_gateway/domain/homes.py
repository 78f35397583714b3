# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where conversations live: the node that has the beginning of one in memory answers its next turn much sooner.

Each conversation has an order of all nodes (rendezvous hashing), and goes to the first of them that has a slot free as
far as this gateway knows. So a node that comes or goes moves its own conversations alone, no gateway has to tell
another one, and a crowd of equal beginnings does not all end at one node.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, Optional

from .fleet_view import OwnLane

#: Seconds for which a node gets no conversations that has not taken one in time: it is dead, or busy with others.
REST = 5.0

#: Places of a turn: at its home; at the next node, since its home was full or had not taken a turn just now; or in the
#: lane of all nodes.
HOME, NEXT, LANE = "home", "next", "lane"


@dataclass(frozen=True)
class Place:
    """Where a turn goes.

    :ivar home: the node that its conversation belongs to.
    :ivar lane: that it is published to; None for the lane of all nodes.
    """

    home: str
    lane: Optional[OwnLane]

    def kept_by(self, node: Optional[str]) -> str:
        """Return which place a turn has got, by the node that has answered it."""
        if node == self.home:
            return HOME
        return NEXT if self.lane is not None and node == self.lane.node else LANE


class Homes:
    """Chooses the node of each turn. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Turns that each node has from here, and until when it gets none.
        self._out: dict[str, int] = {}
        self._rests: dict[str, float] = {}

    def choose(self, turn_of: Callable[[], Optional[bytes]], lanes: Sequence[OwnLane]) -> Optional[Place]:
        """Return where a turn goes; None when it is all the same.

        :param turn_of: returns the conversation, if there is one.
        :param lanes: of the nodes that may answer it.
        """
        conversation = turn_of() if len(lanes) > 1 else None
        if conversation is None:
            return None
        order = sorted(lanes, key=lambda lane: _score(conversation, lane.node), reverse=True)
        return Place(order[0].node, next((lane for lane in order if self._takes(lane)), None))

    @contextmanager
    def turn(self, place: Optional[Place]) -> Iterator[None]:
        """Count a turn while it is out."""
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
        """A turn was answered by a node; one that was asked in vain rests."""
        if place.lane is not None and node is not None and node != place.lane.node:
            self.missed(place)

    def missed(self, place: Place) -> None:
        """The node that was asked has not taken a turn."""
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
