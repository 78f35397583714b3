# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signs of life for the watchdog of systemd, which restarts a process that gives none."""

from __future__ import annotations

from ..logs.log import Log
from .supervisor import Supervisor
from .systemd import Notifier

LOG = Log()

#: Seconds between two signs of life when systemd expects none, and at most.
TICK = 1.0


class Watchdog:
    """Feeds the watchdog while the loop of the process turns and every helper thread does its work.

    :ivar notifier: sends the state of the process to systemd.
    :param supervisor: knows the helper threads.
    """

    def __init__(self, notifier: Notifier, supervisor: Supervisor) -> None:
        self.notifier = notifier
        self._supervisor = supervisor
        self._logged = ""

    @property
    def trouble(self) -> str:
        """The helper thread that does not work, with the reason; empty while all work."""
        return self._supervisor.trouble

    @property
    def seconds(self) -> float:
        """Seconds from one call of :meth:`feed` to the next."""
        interval = self.notifier.watchdog_interval
        return TICK if interval is None else min(TICK, interval / 4)

    def feed(self) -> None:
        """Give a sign of life, unless a helper thread gives none.

        The loop of the process calls this, so that a loop that hangs gives no sign either.
        """
        self.notifier.resend()
        trouble = self.trouble
        if trouble and not self._logged:
            LOG.error("thread_stalled", error=trouble, remedy="the watchdog of systemd restarts the process")
            self.notifier.status(f"{trouble}; the watchdog restarts the process")
        self._logged = trouble
        if self.notifier.watchdog_interval is not None and not trouble:
            self.notifier.alive()
