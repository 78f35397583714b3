# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates over the last minutes, by a clock that the test turns."""

from __future__ import annotations

from fleet_worker.observe.rates import MEMORY, Rates


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_ended_request_counts_for_the_span_and_no_longer() -> None:
    clock = Clock()
    rates = Rates(clock)
    assert rates.over(60) == {
        "requests_per_second": 0.0,
        "failures_per_second": 0.0,
        "output_tokens_per_second": 0.0,
        "mean_inference_seconds": None,
    }
    clock.now += 100
    for _request in range(30):
        rates.add(answered=True, tokens=10, inference=2.0)
    rates.add(answered=False, tokens=0, inference=0.0)
    assert rates.over(60) == {
        "requests_per_second": 0.517,
        "failures_per_second": 0.017,
        "output_tokens_per_second": 5.0,
        "mean_inference_seconds": 1.935,
    }
    assert rates.over(300)["requests_per_second"] == 0.31  # 31 in the 100 s that the worker is old
    clock.now += 62
    assert rates.over(60)["requests_per_second"] == 0.0
    assert rates.over(300)["requests_per_second"] == round(31 / 162, 3)


def test_the_memory_is_bounded() -> None:
    clock = Clock()
    rates = Rates(clock)
    for _second in range(10 * MEMORY):
        clock.now += 1
        rates.add(answered=True, tokens=1, inference=0.1)
    assert len(rates._seconds) == MEMORY + 1
    assert rates.over(MEMORY)["requests_per_second"] in (1.0, round((MEMORY + 1) / MEMORY, 3))
