# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases of leaving, and when nothing is waited for any more."""

from __future__ import annotations

import pytest
from fleet_worker.worker.drain import GOODBYE, Drain, DrainPhase


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def drain(clock: Clock) -> Drain:
    return Drain(10.0, clock)


def test_drain_before_it_begins_runs_and_is_never_over(drain: Drain) -> None:
    assert drain.phase is DrainPhase.RUNNING and not drain.has_begun and drain.seconds_left == 0.0
    assert not drain.is_over(idle=True, connected=False)


def test_drain_with_work_is_over_when_idle_or_disconnected(drain: Drain) -> None:
    drain.begin()
    assert drain.phase is DrainPhase.DRAINING and drain.seconds_left == 10.0
    assert not drain.is_over(idle=False, connected=True)
    assert drain.is_over(idle=True, connected=True)
    assert drain.is_over(idle=False, connected=False)


def test_drain_after_its_time_is_overdue_and_over_after_the_goodbye(drain: Drain, clock: Clock) -> None:
    drain.begin()
    clock.now += 10.1
    assert drain.phase is DrainPhase.OVERDUE and drain.seconds_left == 0.0
    assert not drain.is_over(idle=False, connected=True)
    clock.now += GOODBYE
    assert drain.is_over(idle=False, connected=True)


def test_drain_that_ends_twice_says_so_once(drain: Drain) -> None:
    assert drain.end() and not drain.end()
    assert drain.phase is DrainPhase.ENDED and not drain.has_begun
