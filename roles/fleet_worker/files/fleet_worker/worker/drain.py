# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a worker: what runs is finished, for a time; then it is given back, and the connection is closed."""

from __future__ import annotations

import enum
import time
from typing import Callable, Optional

#: Seconds that are left to say goodbye, after those for what runs.
GOODBYE = 5.0


class DrainPhase(enum.Enum):
    """How far the worker is with leaving."""

    #: It takes requests.
    RUNNING = "running"
    #: It takes none, and finishes those that run.
    DRAINING = "draining"
    #: The time of those that run is over: they are being given back.
    OVERDUE = "overdue"
    #: Nothing is waited for any more.
    ENDED = "ended"


class Drain:
    """The phases of leaving.

    :param timeout: seconds for what runs.
    :param clock: seconds of the monotonic clock.
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
        """Whether the worker was asked to leave."""
        return self._ends is not None

    @property
    def seconds_left(self) -> float:
        """Seconds for what runs."""
        return 0.0 if self._ends is None else max(0.0, self._ends - self._clock())

    def begin(self) -> None:
        """From now on nothing is taken."""
        self._ends = self._clock() + self._timeout

    def is_over(self, *, idle: bool, connected: bool) -> bool:
        """Whether there is nothing to wait for.

        :param idle: whether nothing runs, and no answer is on its way.
        :param connected: whether what runs can still be answered.
        """
        if self._ends is None:
            return False
        return idle or not connected or self._clock() > self._ends + GOODBYE

    def end(self) -> bool:
        """Go to the last phase; return False when it was reached before."""
        first, self._ended = not self._ended, True
        return first
