# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches: requests of a lane that wait for more requests in order to start together."""

from __future__ import annotations

from typing import Optional

from .actions import Action, Get
from .held_requests import HeldRequests
from .lanes import LaneEntry, LaneTable
from .slots import Slots

#: Seconds for which requests of a batch wait for others.
GATHER = 0.05


class Batches:
    """The batches that wait for more requests."""

    def __init__(self, lanes: LaneTable, held: HeldRequests, slots: Slots) -> None:
        self._lanes = lanes
        self._held = held
        self._slots = slots

    def gathering(self, now: float) -> list[LaneEntry]:
        """Return the lanes whose held requests wait for more, since their model is busy anyway."""
        until = [(lane, self._until(lane)) for lane in self._lanes.batching]
        return [lane for lane, when in until if when is not None and now < when]

    def ends(self) -> list[float]:
        """Return the ends of the waits for more requests."""
        until = [self._until(lane) for lane in self._lanes.batching if not self.filling(lane)]
        return [when for when in until if when is not None]

    def filling(self, lane: LaneEntry) -> bool:
        """Whether the broker still sends requests of a batch, about one in a millisecond."""
        return lane.getting > 0 and 1 < lane.rule.batch > len(self._held.batch_of(lane))

    def fill(self, lane: LaneEntry, more: int) -> list[Action]:
        """Get the rest of a batch from the queue.

        :param more: the number of requests in the queue.
        """
        number = min(more, lane.rule.batch - len(self._held.batch_of(lane)))
        lane.getting += max(0, number)
        return [Get(lane.rule.queue) for _number in range(number)]

    def _until(self, lane: LaneEntry) -> Optional[float]:
        if not self._slots.running(lane.rule.model) or self._slots.full(lane):
            return None
        held = self._held.batch_of(lane)
        return held[0].since + GATHER if 0 < len(held) < lane.rule.batch else None
