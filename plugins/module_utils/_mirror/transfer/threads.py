# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Threads that work together on one transfer."""

from __future__ import annotations

import threading
from typing import Callable


def together(work: Callable[[], None], number: int, name: str, stop: Callable[[BaseException], None]) -> None:
    """Do the work on several threads, and wait until all of them have ended.

    :param number: the number of threads.
    :param name: the beginning of the threads' names; a number follows.
    :param stop: called with the exception that interrupts the wait, such as KeyboardInterrupt. The exception is raised
        again, and threads may still be running.
    """
    running = [threading.Thread(target=work, name=f"{name}-{index}", daemon=True) for index in range(number)]
    try:
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    except BaseException as interruption:
        stop(interruption)
        raise
