# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's loop, turned by a test."""

from __future__ import annotations

import time
from typing import Callable

from fleet_worker.runtime.event_loop import EventLoop


def turn_until(loop: EventLoop, done: Callable[[], object], within: float = 10.0) -> None:
    """Turn until something is so, and not for longer than some seconds."""
    deadline = time.monotonic() + within
    while not done():
        assert time.monotonic() < deadline
        loop.call_later(0.005, lambda: None)
        loop.turn()
