# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One timer that is moved."""

from __future__ import annotations

import pytest
from fleet_worker.runtime import alarm as alarm_module
from fleet_worker.runtime.alarm import Alarm

from ..manual_loop import ManualLoop


class Clockwork:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = ManualLoop()
        monkeypatch.setattr(alarm_module.time, "monotonic", lambda: self.loop.now)
        self.rung = 0
        self.alarm = Alarm(self.loop, self._ring)

    def _ring(self) -> None:
        self.rung += 1


@pytest.fixture
def clockwork(monkeypatch: pytest.MonkeyPatch) -> Clockwork:
    return Clockwork(monkeypatch)


def test_alarm_rings_once_at_its_time_and_can_be_set_again(clockwork: Clockwork) -> None:
    for number in (1, 2):
        clockwork.alarm.set(clockwork.loop.now + 1.0)
        clockwork.loop.turn(0.5)
        assert clockwork.rung == number - 1
        clockwork.loop.turn(0.5)
        clockwork.loop.turn(5.0)
        assert clockwork.rung == number


def test_alarm_that_is_moved_rings_at_the_new_time_alone(clockwork: Clockwork) -> None:
    clockwork.alarm.set(clockwork.loop.now + 1.0)
    clockwork.alarm.set(clockwork.loop.now + 3.0)
    assert len(clockwork.loop.later) == 1
    clockwork.loop.turn(2.0)
    assert clockwork.rung == 0
    clockwork.loop.turn(1.0)
    assert clockwork.rung == 1


def test_alarm_that_is_taken_back_does_not_ring(clockwork: Clockwork) -> None:
    clockwork.alarm.set(clockwork.loop.now + 1.0)
    clockwork.alarm.set(None)
    clockwork.loop.turn(2.0)
    assert clockwork.rung == 0 and clockwork.loop.later == []


def test_alarm_that_is_set_to_the_same_time_keeps_its_timer(clockwork: Clockwork) -> None:
    at = clockwork.loop.now + 1.0
    clockwork.alarm.set(at)
    (timer,) = clockwork.loop.later
    clockwork.alarm.set(at)
    assert clockwork.loop.later == [timer]
