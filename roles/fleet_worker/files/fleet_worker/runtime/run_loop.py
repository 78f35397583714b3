# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main loop of a process: one thread receives the signals, and the I/O thread runs the loop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection
from typing import Callable

from ..logs.log import Log
from .event_loop import EventLoop
from .supervisor import RoundThread, Supervisor

LOG = Log()


def run_loop(
    loop: EventLoop,
    supervisor: Supervisor,
    *,
    signals: Collection[signal.Signals],
    on_signal: Callable[[int], None],
    start_threads: Callable[[], None],
    start: Callable[[], None],
) -> bool:
    """Run a loop until it is stopped. To be called in the main thread.

    A thread waits for the signals, instead of signal handlers: a handler could interrupt a thread that holds a lock,
    such as the lock of the log, and then wait for this lock for ever.

    :param supervisor: supervises the thread of the signals.
    :param on_signal: called with each signal, in that thread.
    :param start_threads: starts the other threads of the process.
    :param start: called on the I/O thread before the loop runs.
    :return: whether the loop ended without a defect.
    """
    # Block the signals before the first thread starts, because threads inherit the mask, and only one must get signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    waiting = RoundThread("signals", lambda: signal.sigwait(signals), on_signal)
    supervisor.watch(waiting)
    waiting.start()
    start_threads()
    broken = threading.Event()

    def turn() -> None:
        try:
            start()
            loop.start()
        except Exception:
            # After a defect the process ends, the broker requeues its requests, and systemd restarts the process.
            LOG.exception("broken")
            broken.set()

    turning = threading.Thread(target=turn, name="io")
    turning.start()
    turning.join()
    return not broken.is_set()
