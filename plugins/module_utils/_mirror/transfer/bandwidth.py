# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The limit of bytes per second that all requests of a task share: a token bucket that allows debt."""

from __future__ import annotations

import threading
import time
from typing import Callable, Optional

#: Seconds of unused bandwidth that a later burst may use.
BURST = 0.25

#: Bytes that a connection receives between two checks of the limit, so that several connections stay close to it.
PIECE = 64 * 1024


class Bandwidth:
    """The limit of one task. Safe for use by several threads.

    :param rate: bytes per second; ``None`` for no limit.
    :param clock: returns seconds, always growing.
    """

    def __init__(self, rate: Optional[int], clock: Callable[[], float] = time.monotonic) -> None:
        self.limited = rate is not None
        self._rate = rate or 0
        self._clock = clock
        self._lock = threading.Lock()
        self._paid_until = clock()

    def spend(self, count: int) -> float:
        """Account for bytes that were received or will be sent; return the seconds to wait before the next bytes."""
        if not self.limited:
            return 0.0
        with self._lock:
            now = self._clock()
            self._paid_until = max(self._paid_until, now - BURST) + count / self._rate
            return max(0.0, self._paid_until - now)
