# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An event loop that a test turns by hand, with a clock of its own."""

from __future__ import annotations

from typing import Any, Callable


class ManualLoop:
    """Runs callbacks and timers only in :meth:`turn`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.soon: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []

    def add_callback_threadsafe(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        self.later.append((self.now + seconds, callback))
        return self.later[-1]

    def remove_timeout(self, timer: Any) -> None:
        if timer in self.later:
            self.later.remove(timer)

    def turn(self, seconds: float = 0.0) -> None:
        self.now += seconds
        due = [callback for at, callback in self.later if at <= self.now]
        self.later = [(at, callback) for at, callback in self.later if at > self.now]
        soon, self.soon = self.soon, []
        for callback in [*soon, *due]:
            callback()
