# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The helper threads of a process: each survives its errors, and the watchdog supervises all of them.

A helper thread works in rounds. A round waits for an item, such as a signal, a connection or a task, and handles it. An
exception ends the round and not the thread. Otherwise one malformed answer of Ollama, or one malformed request to the
status socket, would end a thread for ever, and nobody would notice.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any, Callable, Optional

from ..logs.log import Log

LOG = Log()

#: Seconds of handling after which a round counts as stalled.
PATIENCE = 120.0

#: Seconds between a failed round and the next one: doubled with each failure in a row, up to the second number.
BACKOFF = 0.05
BACKOFF_CAP = 10.0


class RoundThread:
    """A thread that waits for items and handles them, one after the other.

    :param name: the name of the thread in logs, in the status and in debuggers.
    :param wait: returns the next item; may wait for ever. :meth:`stop` does not interrupt the wait.
    :param handle: handles an item of ``wait``.
    :param patience: seconds that ``handle`` may take before the thread counts as stalled; None for any time.
    """

    def __init__(
        self,
        name: str,
        wait: Callable[[], Any],
        handle: Callable[[Any], None],
        *,
        patience: Optional[float] = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.patience = patience
        self._wait = wait
        self._handle = handle
        self._clock = clock
        self._stopped = threading.Event()
        self._busy_since: Optional[float] = None
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread.

        :raises RuntimeError: if the system allows no further thread.
        """
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current round. The owner wakes a ``wait`` that would not return by itself."""
        self._stopped.set()

    def progress(self) -> None:
        """Report that a long round makes progress; called by ``handle``."""
        if self._busy_since is not None:
            self._busy_since = self._clock()

    @property
    def trouble(self) -> str:
        """The reason why the thread does not work; empty if it works, has not started or was stopped."""
        if self._stopped.is_set() or self._thread.ident is None:
            return ""
        if not self._thread.is_alive():
            return f"the thread {self.name} has ended"
        since = self._busy_since
        if since is None or self.patience is None:
            return ""
        seconds = self._clock() - since
        return f"the thread {self.name} has been busy for {seconds:.0f} s" if seconds > self.patience else ""

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._round()
                self._failures = 0
            except BaseException:
                with suppress(BaseException):  # a failing log must not end the thread
                    LOG.exception("thread_failed", thread=self.name, remedy="please report this; the thread goes on")
                self._stopped.wait(min(BACKOFF_CAP, BACKOFF * 2.0 ** min(self._failures, 20)))
                self._failures += 1

    def _round(self) -> None:
        try:
            found = self._wait()
            if not self._stopped.is_set():
                self._busy_since = self._clock()
                self._handle(found)
        finally:
            self._busy_since = None


class Supervisor:
    """Supervises the helper threads of the process."""

    def __init__(self) -> None:
        self._threads: list[RoundThread] = []

    def watch(self, *threads: RoundThread) -> None:
        """Supervise threads, which may start before or after this call."""
        self._threads += threads

    @property
    def trouble(self) -> str:
        """The first thread that does not work, with the reason; empty if all work."""
        return next((trouble for trouble in (thread.trouble for thread in self._threads) if trouble), "")
