# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consumers of the lanes: one for each lane, and a second one for the hot lane."""

from __future__ import annotations

from collections import Counter
from typing import Optional

from .actions import Action, Cancel, Consume
from .lanes import LaneEntry
from .slots import Slots


class ConsumerPlan:
    """The consumers that the worker has requested from the broker.

    :ivar hot: the lane with the second consumer, which can keep all slots busy.
    """

    def __init__(self, slots: Slots) -> None:
        self.hot: Optional[LaneEntry] = None
        self._next_hot: Optional[LaneEntry] = None
        self._slots = slots
        #: Cancelled consumers, until the broker has confirmed their end.
        self._cancelling: Counter[tuple[str, bool]] = Counter()

    @property
    def cancelling(self) -> bool:
        """Whether a cancelled consumer may still bring requests."""
        return bool(self._cancelling)

    def consume(self, lane: LaneEntry) -> Consume:
        """Give a lane its consumer."""
        lane.consumed, lane.throttled = True, False
        return Consume(lane.rule.queue, prefetch=1)

    def cancel(self, lane: LaneEntry, now: float) -> list[Action]:
        """Cancel the consumers of a lane."""
        actions: list[Action] = []
        if self.hot is lane:
            actions += self._cool()
        if lane.consumed:
            lane.consumed = False
            lane.touched = now
            self._cancelling[(lane.rule.queue, False)] += 1
            actions.append(Cancel(lane.rule.queue))
        return actions

    def heat(self, lane: LaneEntry) -> list[Action]:
        """Move the second consumer to a lane once the current owner's consumer is cancelled."""
        if self.hot is lane:
            return []
        if self.hot is not None or any(hot for _queue, hot in self._cancelling):
            self._next_hot = lane
            return self._cool()
        self.hot, self._next_hot = lane, None
        number = self._slots.number
        slots = number if lane.rule.limit is None else min(number, lane.rule.limit)
        return [Consume(lane.rule.queue, prefetch=2 * slots * lane.rule.batch - 1, hot=True)]

    def deserves_heat(self, lane: LaneEntry) -> bool:
        """Whether the broker should send more requests of a lane at once, after one has arrived."""
        slots, model = self._slots, lane.rule.model
        if lane.rule.limit is not None and slots.running(model) + 1 >= lane.rule.limit:
            return False  # the request that has just arrived fills its model
        if model == slots.last_model:
            return slots.free > 0
        # A burst for a model that is not loaded: without the second consumer, its requests would run one by one until
        # the first has finished.
        return slots.free > 1 and slots.taken == 0

    def note_cancelled(self, queue: str, hot: bool) -> Optional[LaneEntry]:
        """Note that a cancelled consumer has ended; return the lane that waits for the second consumer, if any."""
        self._cancelling[(queue, hot)] -= 1
        self._cancelling += Counter()  # drop zero counts
        waiting = self._next_hot
        return waiting if hot and waiting is not None and waiting.consumed else None

    def may_still_bring(self, lane: LaneEntry) -> bool:
        """Whether the broker may still send requests of a lane.

        If the worker returns a request too early, the broker sends it at once to the consumer that is being cancelled.
        Each return costs the request one of its few deliveries.
        """
        queue = lane.rule.queue
        return lane.getting > 0 or self._cancelling[(queue, False)] > 0 or self._cancelling[(queue, True)] > 0

    def is_cancelling(self, lane: LaneEntry) -> bool:
        """Whether the first consumer of a lane was cancelled, and the broker has not confirmed it yet."""
        return self._cancelling[(lane.rule.queue, False)] > 0

    def reset(self) -> None:
        """Forget all consumers after the loss of their channel."""
        self.hot = self._next_hot = None
        self._cancelling.clear()

    def _cool(self) -> list[Action]:
        if self.hot is None:
            return []
        queue = self.hot.rule.queue
        self.hot = None
        self._cancelling[(queue, True)] += 1
        return [Cancel(queue, hot=True)]
