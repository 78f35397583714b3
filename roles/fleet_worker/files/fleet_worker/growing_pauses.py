# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pauses between tries of what fails again and again: each one is twice as long as the one before."""

from __future__ import annotations

#: Seconds of the first pause, and of the longest.
FIRST = 1.0
LONGEST = 300.0


class GrowingPauses:
    """The pauses of any number of things, by their names."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def next(self, name: str) -> float:
        """Return the seconds until the next try of something that has just failed."""
        seconds = min(LONGEST, 2 * self._last.get(name, FIRST / 2))
        self._last[name] = seconds
        return seconds

    def forget(self, name: str) -> None:
        """It has succeeded: its next failure is a first one."""
        self._last.pop(name, None)
