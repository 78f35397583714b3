# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications for the watchdog of systemd, which restarts a process without notifications."""

from __future__ import annotations

from ..logs.log import Log
from .supervisor import Supervisor
from .systemd import Notifier

LOG = Log()

#: The most seconds between two calls of :meth:`Watchdog.feed`, and the seconds without a watchdog.
TICK = 1.0


class Watchdog:
    """Feeds the watchdog while the loop of the process runs and every helper thread works.

    :ivar notifier: sends the state of the process to systemd.
    :param supervisor: supervises the helper threads.
    """

    def __init__(self, notifier: Notifier, supervisor: Supervisor) -> None:
        self.notifier = notifier
        self._supervisor = supervisor
        self._logged = ""

    @property
    def trouble(self) -> str:
        """The helper thread that does not work, with the reason; empty if all work."""
        return self._supervisor.trouble

    @property
    def seconds(self) -> float:
        """The seconds between two calls of :meth:`feed`."""
        interval = self.notifier.watchdog_interval
        return TICK if interval is None else min(TICK, interval / 4)

    def feed(self) -> None:
        """Notify systemd, unless a helper thread does not work.

        The loop of the process calls this method, so a loop that hangs does not notify systemd either.
        """
        self.notifier.resend()
        trouble = self.trouble
        if trouble and not self._logged:
            LOG.error("thread_stalled", error=trouble, remedy="the watchdog of systemd restarts the process")
            self.notifier.status(f"{trouble}; the watchdog restarts the process")
        self._logged = trouble
        if self.notifier.watchdog_interval is not None and not trouble:
            self.notifier.alive()
