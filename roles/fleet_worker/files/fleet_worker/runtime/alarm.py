# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A timer whose time can change."""

from __future__ import annotations

import time
from typing import Any, Callable, Optional


class Alarm:
    """Runs one callback at a time of the monotonic clock, which can change.

    :param loop: the loop that runs the callback.
    """

    def __init__(self, loop: Any, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._timer: Any = None
        self._at: Optional[float] = None

    def set(self, at: Optional[float]) -> None:
        """Replace the time of the callback; None cancels it."""
        if at == self._at:
            return
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
        self._at, self._timer = at, None
        if at is not None:
            self._timer = self._loop.call_later(max(0.0, at - time.monotonic()), self._call_back)

    def _call_back(self) -> None:
        self._at = self._timer = None
        self._callback()
