# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The broken lanes: lanes for which the broker ends the connection.

RabbitMQ declares a queue whose leader does not run, but ends the whole connection with 541 at a get or a consume. So
one such queue would disturb the requests of all lanes again and again. Its lane rests, also over later connections.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable, Optional

from .._ollama.retry import RetryPolicy

#: The pauses of a lane: 5 to 10 s, doubled each time, at most 5 minutes; and the most counted ends. Each attempt may
#: end the connection, which costs every request of this worker one of its few deliveries.
PAUSES = RetryPolicy(base=10.0, cap=300.0)
MANY = 20


@dataclass(frozen=True)
class Rest:
    """The pause of a broken lane.

    :ivar seconds: the remaining seconds.
    :ivar reason: the broker's text.
    """

    seconds: float
    reason: str


class BrokenLanes:
    """Remembers the broken lanes of one worker, by queue. For one thread.

    :param clock: seconds of the monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: The number of ended connections in a row, the end of the pause, and the broker's text.
        self._broken: dict[str, tuple[int, float, str]] = {}

    def note(self, queues: Iterable[str], reason: str) -> None:
        """Note that the broker has ended the connection, probably for one of these lanes."""
        for queue in queues:
            number = min(MANY, self._broken.get(queue, (0, 0.0, ""))[0] + 1)
            self._broken[queue] = number, self._clock() + PAUSES.delay(number), reason

    def mended(self, queue: str) -> None:
        """Note that the broker has answered a get or a consume."""
        self._broken.pop(queue, None)

    def rest(self, queue: str) -> Optional[Rest]:
        """Return the pause of a lane; None if the worker may use the lane."""
        _number, until, reason = self._broken.get(queue, (0, 0.0, ""))
        seconds = until - self._clock()
        return Rest(seconds, reason) if reason and seconds > 0 else None
