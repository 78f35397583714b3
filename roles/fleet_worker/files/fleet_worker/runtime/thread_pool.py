# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads that wait for Ollama."""

from __future__ import annotations

import queue
from typing import Callable, Optional

from .supervisor import RoundThread

Task = Callable[[], None]


class ThreadPool:
    """Some threads that run tasks. The threads end with the process, so every task may be interrupted.

    :ivar threads: the threads, for the supervisor. A task that raises ends, but its thread continues.
    """

    def __init__(self, size: int) -> None:
        self._tasks: queue.SimpleQueue[Optional[Task]] = queue.SimpleQueue()
        self.threads = [
            RoundThread(f"inference-{number}", self._tasks.get, self._run, patience=None) for number in range(size)
        ]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def allow(self, seconds: float) -> None:
        """Raise the seconds after which a task's thread counts as stalled. Never lowers them."""
        for thread in self.threads:
            thread.patience = max(thread.patience or 0.0, seconds)

    def submit(self, task: Task) -> None:
        """Run a task in a thread. The task handles its own errors: the pool only logs them."""
        self._tasks.put(task)

    def stop(self) -> None:
        """End each thread after its current task."""
        for thread in self.threads:
            thread.stop()
        for _thread in self.threads:
            self._tasks.put(None)

    @staticmethod
    def _run(task: Optional[Task]) -> None:
        if task is not None:
            task()
