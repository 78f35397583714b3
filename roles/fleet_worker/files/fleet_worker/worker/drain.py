# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drain of a worker: finish running requests for some time, return the rest, and close the connection."""

from __future__ import annotations

import enum
import time
from typing import Callable, Optional

#: The seconds after the timeout, for returning requests and closing the connection.
GOODBYE = 5.0


class DrainPhase(enum.Enum):
    """The phases of a drain."""

    #: The worker takes requests.
    RUNNING = "running"
    #: The worker takes no requests, and finishes the running ones.
    DRAINING = "draining"
    #: The timeout has passed, and the worker returns the running requests to their queues.
    OVERDUE = "overdue"
    #: The worker waits for nothing any more.
    ENDED = "ended"


class Drain:
    """The progress of a drain.

    :param timeout: the most seconds for running requests.
    :param clock: a monotonic clock, in seconds.
    """

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout
        self._clock = clock
        self._ends: Optional[float] = None
        self._ended = False

    @property
    def phase(self) -> DrainPhase:
        if self._ended:
            return DrainPhase.ENDED
        if self._ends is None:
            return DrainPhase.RUNNING
        return DrainPhase.DRAINING if self._clock() <= self._ends else DrainPhase.OVERDUE

    @property
    def has_begun(self) -> bool:
        """Whether the drain has begun."""
        return self._ends is not None

    @property
    def seconds_left(self) -> float:
        """The remaining seconds for running requests."""
        return 0.0 if self._ends is None else max(0.0, self._ends - self._clock())

    def begin(self) -> None:
        """Begin the drain."""
        self._ends = self._clock() + self._timeout

    def is_over(self, *, idle: bool, connected: bool) -> bool:
        """Return whether the worker has nothing to wait for.

        :param idle: whether no request runs, and no answer is unconfirmed.
        :param connected: whether running requests can still be answered.
        """
        if self._ends is None:
            return False
        return idle or not connected or self._clock() > self._ends + GOODBYE

    def end(self) -> bool:
        """Begin the last phase; return False if it has begun already."""
        first, self._ended = not self._ended, True
        return first
