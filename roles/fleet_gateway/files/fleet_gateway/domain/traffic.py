# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The traffic of the gateway: running requests, the latest finished requests, and counts of requests.

The traffic is in memory, within bounds, and has no prompts and no answers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable

#: The seconds of one interval, and the number of kept intervals: 15 minutes.
INTERVAL = 5.0
INTERVALS = 180

#: The most kept requests that have ended.
MOST_ENDED = 200

#: The stages of a request: the gateway receives the body, the request waits for its turn, a node has the request, the
#: answer arrives.
RECEIVING, WAITING, SENT, ANSWERING = "receiving", "waiting", "sent", "answering"


@dataclass
class Passage:
    """A request from its first byte to its last.

    :ivar began: the time of the first byte, on the monotonic clock.
    :ivar key: the name of the key; empty until the key is known.
    :ivar model: the client's name of the model, later the lane's; empty until the body is read.
    :ivar node: the node that answers; empty until its first message.
    :ivar status: the status of HTTP; 0 until the request ends.
    :ivar seconds: the duration; 0 until the request ends.
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
    """The requests that ended in one interval.

    :ivar number: the monotonic clock divided by :data:`INTERVAL`.
    """

    number: int
    requests: int = 0
    failures: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Traffic:
    """Keeps running and finished requests. For one event loop.

    :param clock: a monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way: dict[int, Passage] = {}
        self._ended: deque[Passage] = deque(maxlen=MOST_ENDED)
        #: Intervals by model, oldest first. The models are those of lanes, so clients cannot invent models.
        self._intervals: dict[str, deque[Interval]] = {}

    def begin(self, path: str) -> Passage:
        """Begin to count a request."""
        passage = Passage(path, self._clock())
        self._under_way[id(passage)] = passage
        return passage

    def end(self, passage: Passage, status: int) -> None:
        """Count a request that has ended."""
        del self._under_way[id(passage)]
        passage.status = status
        passage.seconds = self._clock() - passage.began
        if not passage.lane:
            return  # refused before a lane was chosen; metrics and log have the request
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
        """The time on the clock of ``began``."""
        return self._clock()

    def under_way(self) -> list[Passage]:
        """Return the running requests, oldest first."""
        return list(self._under_way.values())

    def ended(self) -> list[Passage]:
        """Return the latest finished requests, newest first."""
        return list(reversed(self._ended))

    def rates(self, models: Iterable[str]) -> list[Interval]:
        """Return the sums of all intervals for some models, oldest first. The last interval has not ended yet."""
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
