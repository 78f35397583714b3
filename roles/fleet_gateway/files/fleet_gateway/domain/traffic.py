# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What passes through the gateway: requests under way, those that ended lately, and how many there were.

All of it is in memory and bounded, and none of it has anything of a prompt or an answer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable

#: Seconds of one interval that is counted, and how many intervals are kept: 15 minutes.
INTERVAL = 5.0
INTERVALS = 180

#: Requests that are kept after their end.
MOST_ENDED = 200

#: The stages of a request: its body comes, it waits for its turn, it is at the fleet, its answer comes.
RECEIVING, WAITING, SENT, ANSWERING = "receiving", "waiting", "sent", "answering"


@dataclass
class Passage:
    """A request from its first byte to its last.

    :ivar began: on the monotonic clock.
    :ivar key: name of the key; empty until it is known.
    :ivar model: as the lane names it once the lane is known; empty until the body was read.
    :ivar node: the node that answers, once it has said so.
    :ivar status: of HTTP, once it has ended.
    :ivar seconds: that it took, once it has ended.
    """

    path: str
    began: float
    key: str = ""
    model: str = ""
    lane: str = ""
    node: str = ""
    stage: str = RECEIVING
    status: int = 0
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass
class Interval:
    """What ended in some seconds.

    :ivar number: of the interval: the monotonic clock by :data:`INTERVAL`.
    """

    number: int
    requests: int = 0
    failures: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Traffic:
    """Keeps them. For one event loop.

    :param clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way: dict[int, Passage] = {}
        self._ended: deque[Passage] = deque(maxlen=MOST_ENDED)
        #: Intervals by model, oldest first. Models are those of lanes, so nobody can make up any number of them.
        self._intervals: dict[str, deque[Interval]] = {}

    def begin(self, path: str) -> Passage:
        """A request has come."""
        passage = Passage(path, self._clock())
        self._under_way[id(passage)] = passage
        return passage

    def end(self, passage: Passage, status: int) -> None:
        """A request is over."""
        del self._under_way[id(passage)]
        passage.status = status
        passage.seconds = self._clock() - passage.began
        if not passage.lane:
            return  # refused before it came near the fleet; metrics and log have it
        self._ended.append(passage)
        kept = self._intervals.setdefault(passage.model, deque(maxlen=INTERVALS))
        number = int(self._clock() // INTERVAL)
        if not kept or kept[-1].number != number:
            kept.append(Interval(number))
        interval = kept[-1]
        interval.requests += 1
        interval.failures += status >= 500
        interval.input_tokens += passage.input_tokens
        interval.output_tokens += passage.output_tokens

    @property
    def now(self) -> float:
        """The monotonic clock, to compare ``began`` with."""
        return self._clock()

    def under_way(self) -> list[Passage]:
        """Return the requests that have come and are not over, oldest first."""
        return list(self._under_way.values())

    def ended(self) -> list[Passage]:
        """Return those that ended lately, newest first."""
        return list(reversed(self._ended))

    def rates(self, models: Iterable[str]) -> list[Interval]:
        """Return all intervals, oldest first, with what was asked of some models; the last one is not over yet."""
        last = int(self._clock() // INTERVAL)
        sums = [Interval(number) for number in range(last - INTERVALS + 1, last + 1)]
        for model in set(models):
            for interval in self._intervals.get(model, ()):
                if interval.number >= sums[0].number:
                    found = sums[interval.number - sums[0].number]
                    found.requests += interval.requests
                    found.failures += interval.failures
                    found.input_tokens += interval.input_tokens
                    found.output_tokens += interval.output_tokens
        return sums
