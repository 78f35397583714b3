# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads that wait for Ollama."""

from __future__ import annotations

import queue
import threading
from typing import Callable, Optional

Task = Callable[[], None]


class Pool:
    """A number of threads that run tasks. They end with the process: what they do is safe to break off."""

    def __init__(self, size: int) -> None:
        self._tasks: queue.SimpleQueue[Optional[Task]] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"inference-{number}", daemon=True) for number in range(size)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task) -> None:
        """Have a task run. It must not raise."""
        self._tasks.put(task)

    def stop(self) -> None:
        """End each thread after what it runs."""
        for _thread in self._threads:
            self._tasks.put(None)

    def _run(self) -> None:
        while True:
            task = self._tasks.get()
            if task is None:
                return
            task()
