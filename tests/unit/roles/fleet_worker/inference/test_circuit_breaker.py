# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a model is probed and given up, and for how long."""

from __future__ import annotations

from fleet_worker.inference.circuit_breaker import BreakerSettings, CircuitBreaker


def test_breaker_after_failures_in_a_row_wants_one_probe() -> None:
    breaker = CircuitBreaker(BreakerSettings(3, 10.0, 35.0))
    assert [breaker.failed("m", "no memory", now) for now in (0.0, 1.0, 2.0, 3.0)] == [False, False, True, False]
    assert breaker.reason("m", 4.0) == "", "nothing is paused before the probe has failed"


def test_breaker_with_a_failed_probe_pauses_longer_each_time() -> None:
    breaker = CircuitBreaker(BreakerSettings(1, 10.0, 35.0))
    assert breaker.failed("m", "x", 0.0)
    assert breaker.confirmed("m", "no memory", 2.0) == 10.0
    assert "no memory" in breaker.reason("m", 11.9)
    assert breaker.reason("other", 5.0) == ""
    assert not breaker.failed("m", "no memory", 5.0), "it was started before the pause"
    assert breaker.reason("m", 12.0) == ""
    pauses = []
    for now in (12.0, 33.0, 70.0):
        assert breaker.failed("m", "x", now), "from now on one failure is enough"
        pauses.append(breaker.confirmed("m", "x", now))
    assert pauses == [20.0, 35.0, 35.0]
    assert breaker.succeeded("m")
    assert breaker.reason("m", 71.0) == ""
    assert not breaker.succeeded("m")


def test_breaker_with_a_request_answered_during_the_probe_does_not_pause() -> None:
    breaker = CircuitBreaker(BreakerSettings(1, 10.0, 35.0))
    assert breaker.failed("m", "x", 0.0)
    breaker.succeeded("m")
    assert breaker.confirmed("m", "x", 1.0) is None
    assert breaker.reason("m", 2.0) == ""


def test_breaker_with_a_probe_that_says_nothing_counts_anew() -> None:
    breaker = CircuitBreaker(BreakerSettings(2, 10.0, 35.0))
    assert [breaker.failed("m", "x", 0.0), breaker.failed("m", "x", 0.0)] == [False, True]
    breaker.unconfirmed("m")
    assert [breaker.failed("m", "x", 1.0), breaker.failed("m", "x", 1.0)] == [False, True]


def test_breaker_with_a_success_between_failures_starts_over() -> None:
    breaker = CircuitBreaker(BreakerSettings(2, 10.0, 10.0))
    for now in (0.0, 1.0, 2.0):
        assert not breaker.failed("m", "x", now)
        breaker.succeeded("m")
