# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a model is given up, and for how long."""

from __future__ import annotations

from fleet_worker.breaker import Breaker


def test_pauses_begin_after_failures_in_a_row_grow_and_are_forgotten() -> None:
    breaker = Breaker(3, 10.0, 35.0)
    assert [breaker.failed("m", "no memory", now) for now in (0.0, 1.0, 2.0)] == [None, None, 10.0]
    assert "no memory" in breaker.reason("m", 11.9)
    assert breaker.reason("other", 5.0) == ""
    assert breaker.failed("m", "no memory", 5.0) is None, "it was started before the pause"
    assert breaker.reason("m", 12.0) == ""
    # From now on one failure is enough.
    assert [breaker.failed("m", "x", now) for now in (12.0, 33.0, 70.0)] == [20.0, 35.0, 35.0]
    assert breaker.succeeded("m")
    assert breaker.reason("m", 71.0) == ""
    assert breaker.failed("m", "x", 72.0) is None
    assert not breaker.succeeded("m")


def test_a_success_between_failures_starts_over() -> None:
    breaker = Breaker(2, 10.0, 10.0)
    for now in (0.0, 1.0, 2.0):
        assert breaker.failed("m", "x", now) is None
        breaker.succeeded("m")
