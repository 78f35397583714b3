# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lanes that the scheduler knows, and the state of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Optional

from ..domain.lane_rule import LaneRule

#: Seconds for which a lane is left alone whose broker did not answer, doubled each time up to the second. A question to
#: a queue whose leader does not answer keeps a channel busy for a minute (RabbitMQ: net_ticktime and 5 seconds).
SILENT = 2.5
SILENT_CAP = 60.0


class LaneEntry:
    """A lane of the scheduler.

    :ivar open: requests of the lane can be handled.
    :ivar consumed: the lane has its consumer.
    :ivar throttled: the consumer was taken away because the model is full.
    :ivar leaving: the lane is withdrawn, and is kept only until the broker has answered everything.
    :ivar getting: gets without an answer yet.
    :ivar unsettled: unsettled requests of the lane; its consumer may bring no more than its prefetch.
    :ivar empty: the sweep under way has found the lane empty.
    :ivar visited: when the lane was last asked for a request.
    :ivar touched: when the broker last saw a use of the queue; None while the queue is not declared.
    :ivar silent_until: until when the lane is left alone, since the broker did not answer; None while it answers.
    """

    def __init__(self, rule: LaneRule) -> None:
        self.rule = rule
        self.open = self.consumed = self.throttled = self.leaving = self.empty = False
        self.getting = 0
        self.unsettled = 0
        self.visited = 0.0
        self.touched: Optional[float] = None
        self.silent_until: Optional[float] = None
        self._silences = 0

    @property
    def is_silent(self) -> bool:
        """Whether the broker did not answer when the lane was last asked for a request."""
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

    def keep_alive_at(self) -> Optional[float]:
        """Return when the queue must be asked so that it does not expire; None if nothing has to be done."""
        expires = self.rule.expires
        if expires is None or self.touched is None or self.consumed or self.getting:
            return None
        return max(self.touched + expires / 3, self.silent_until or 0.0)

    def forget_channel(self) -> None:
        """Note that the consumers are gone with their channel, and that the queue has to be declared again."""
        self.open = self.consumed = self.empty = self.throttled = False
        self.getting, self.unsettled, self.touched = 0, 0, None
        self.silent_until, self._silences = None, 0


class LaneTable:
    """Lanes by queue. Few of hundreds of lanes matter at each event: these lanes have lists of their own.

    :ivar expiring: lanes whose queues expire.
    :ivar leaving: lanes that are withdrawn.
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
        """Note that a request of a lane is settled; some were taken before :meth:`forget_channel`."""
        lane = self.unsettled.get(queue)
        if lane is not None:
            lane.unsettled -= 1
            if not lane.unsettled:
                del self.unsettled[queue]

    def forget_channel(self) -> None:
        """Note that the consumers of all lanes are gone with their channel."""
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
        """Find the lanes that matter at each event."""
        self.expiring = [lane for lane in self if lane.rule.expires is not None]
        self.leaving = [lane for lane in self if lane.leaving]
        self.batching = [lane for lane in self if lane.rule.batch > 1]
        limited = {lane.rule.model for lane in self if lane.rule.limit is not None}
        self.limited = [lane for lane in self if lane.throttled or lane.rule.model in limited]
