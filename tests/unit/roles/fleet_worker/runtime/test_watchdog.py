# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the watchdog of systemd is fed, and when not."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from fleet_worker.runtime.watchdog import TICK, Watchdog


class Systemd:
    """What the process tells systemd."""

    def __init__(self, interval: Optional[float]) -> None:
        self.watchdog_interval = interval
        self.signs = 0
        self.shown: list[str] = []

    def alive(self) -> None:
        self.signs += 1

    def resend(self) -> None:
        """Nothing is left to be sent."""

    def status(self, text: str) -> None:
        self.shown.append(text)


class Threads:
    trouble = ""


def test_watchdog_is_fed_while_every_thread_does_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(
        "fleet_worker.runtime.watchdog.LOG.error", lambda event, **fields: logged.append(fields["error"])
    )
    systemd, threads = Systemd(interval=2.0), Threads()
    parts: Any = (systemd, threads)
    watchdog = Watchdog(*parts)
    assert watchdog.seconds == 0.5
    watchdog.feed()
    assert systemd.signs == 1
    threads.trouble = "the thread health has ended"
    for _tick in range(3):
        watchdog.feed()
    assert systemd.signs == 1, "a stalled thread starves the watchdog"
    assert logged == ["the thread health has ended"]
    assert systemd.shown == ["the thread health has ended; the watchdog restarts the process"]
    threads.trouble = ""
    watchdog.feed()
    assert systemd.signs == 2


def test_watchdog_that_is_not_expected_is_not_fed() -> None:
    systemd = Systemd(interval=None)
    parts: Any = (systemd, Threads())
    watchdog = Watchdog(*parts)
    assert watchdog.seconds == TICK
    watchdog.feed()
    assert systemd.signs == 0
