# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lanes that the scheduler knows, and the state of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Optional

from ..domain.lane_rule import LaneRule

#: Seconds without commands for a lane after the broker did not answer, doubled each time up to the second value. A get
#: from a queue with a silent leader keeps a channel busy for a minute (RabbitMQ: net_ticktime and 5 seconds).
SILENT = 2.5
SILENT_CAP = 60.0


class LaneEntry:
    """A lane of the scheduler.

    :ivar open: whether the worker can handle requests of the lane.
    :ivar consumed: whether the lane has its consumer.
    :ivar throttled: whether the lane has no consumer because its model is full.
    :ivar leaving: whether the lane is removed, and is kept only until the broker has answered all commands.
    :ivar getting: the number of gets without an answer.
    :ivar keeping_alive: whether a get without an answer only keeps the queue from expiring.
    :ivar unsettled: the number of unsettled requests; the broker sends the consumer no more than its prefetch.
    :ivar empty: whether the current sweep has found the lane empty.
    :ivar visited: the time of the last get.
    :ivar touched: the time of the last use of the queue that the broker saw; None while the queue is not declared.
    :ivar silent_until: the end of the time without commands after the broker did not answer; None while it answers.
    """

    def __init__(self, rule: LaneRule) -> None:
        self.rule = rule
        self.open = self.consumed = self.throttled = self.leaving = self.empty = False
        self.getting = 0
        self.keeping_alive = False
        self.unsettled = 0
        self.visited = 0.0
        self.touched: Optional[float] = None
        self.silent_until: Optional[float] = None
        self._silences = 0

    @property
    def is_silent(self) -> bool:
        """Whether the broker did not answer the last command for the lane."""
        return self.silent_until is not None

    def note_silence(self, now: float) -> None:
        """Note that the broker does not answer."""
        self.silent_until = now + min(SILENT_CAP, SILENT * 2.0 ** min(self._silences, 10))
        self._silences += 1

    def touch(self, now: float) -> None:
        """Note that the broker saw a use of the queue."""
        self.visited = now
        self.silent_until, self._silences = None, 0
        if not self.leaving:
            self.touched = now

    def count_answer(self) -> None:
        """Note that a get was answered."""
        self.getting = max(0, self.getting - 1)
        self.keeping_alive = self.keeping_alive and self.getting > 0

    def keep_alive_at(self) -> Optional[float]:
        """Return the time of the next get that keeps the queue from expiring; None if none is needed."""
        expires = self.rule.expires
        if expires is None or self.touched is None or self.consumed or self.getting:
            return None
        return max(self.touched + expires / 3, self.silent_until or 0.0)

    def forget_channel(self) -> None:
        """Note that the consumers are lost with their channel, and that the queue must be declared again."""
        self.open = self.consumed = self.empty = self.throttled = self.keeping_alive = False
        self.getting, self.unsettled, self.touched = 0, 0, None
        self.silent_until, self._silences = None, 0


class LaneTable:
    """Lanes by queue. Only few of hundreds of lanes matter at each event, so these lanes have separate lists.

    :ivar expiring: lanes whose queues expire.
    :ivar leaving: removed lanes that the broker still has commands for.
    :ivar batching: lanes that may start several requests as one batch.
    :ivar unsettled: lanes with unsettled requests, by queue.
    """

    def __init__(self, rules: Iterable[LaneRule]) -> None:
        self.unsettled: dict[str, LaneEntry] = {}
        self._by_queue = {rule.queue: LaneEntry(rule) for rule in rules}
        self.index()

    def __iter__(self) -> Iterator[LaneEntry]:
        return iter(self._by_queue.values())

    def __getitem__(self, queue: str) -> LaneEntry:
        return self._by_queue[queue]

    def get(self, queue: str) -> Optional[LaneEntry]:
        """Return the lane of a queue; None for an unknown queue."""
        return self._by_queue.get(queue)

    def count_taken(self, queue: str) -> None:
        """Note that a request has arrived from a lane."""
        lane = self._by_queue.get(queue)
        if lane is not None:
            lane.unsettled += 1
            self.unsettled[queue] = lane

    def count_settled(self, queue: str) -> None:
        """Note that a request of a lane is settled. It may have arrived before :meth:`forget_channel`."""
        lane = self.unsettled.get(queue)
        if lane is not None:
            lane.unsettled -= 1
            if not lane.unsettled:
                del self.unsettled[queue]

    def forget_channel(self) -> None:
        """Note that the consumers of all lanes are lost with their channel."""
        for lane in self:
            lane.forget_channel()
        self.unsettled.clear()

    def replace(self, rules: Iterable[LaneRule]) -> None:
        """Take over new rules. A new lane starts closed; an existing lane keeps its state."""
        for rule in rules:
            lane = self._by_queue.setdefault(rule.queue, LaneEntry(rule))
            lane.rule, lane.leaving = rule, False
        self.index()

    def remove(self, lane: LaneEntry) -> None:
        """Forget a lane."""
        del self._by_queue[lane.rule.queue]
        self.unsettled.pop(lane.rule.queue, None)
        self.index()

    def index(self) -> None:
        """Update the separate lists."""
        self.expiring = [lane for lane in self if lane.rule.expires is not None]
        self.leaving = [lane for lane in self if lane.leaving]
        self.batching = [lane for lane in self if lane.rule.batch > 1]
        limited = {lane.rule.model for lane in self if lane.rule.limit is not None}
        self.limited = [lane for lane in self if lane.throttled or lane.rule.model in limited]
