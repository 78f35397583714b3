# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What passes through the gateway is counted by time and model, and forgotten after a while."""

from __future__ import annotations

import pytest
from fleet_gateway.domain.traffic import INTERVAL, INTERVALS, MOST_ENDED, Passage, Traffic


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def traffic(clock: Clock) -> Traffic:
    return Traffic(clock)


def passed(traffic: Traffic, model: str = "m:1", status: int = 200, tokens: int = 3, lane: str = "q") -> Passage:
    passage = traffic.begin("/api/chat")
    passage.model, passage.lane, passage.output_tokens = model, lane, tokens
    traffic.end(passage, status)
    return passage


def test_traffic_has_a_request_under_way_until_it_ends(traffic: Traffic, clock: Clock) -> None:
    first, second = traffic.begin("/api/chat"), traffic.begin("/api/embed")
    assert traffic.under_way() == [first, second]
    first.lane, first.model = "q", "m:1"
    clock.now += 2.5
    traffic.end(first, 200)
    assert traffic.under_way() == [second]
    assert [(one.status, one.seconds) for one in traffic.ended()] == [(200, 2.5)]


def test_traffic_forgets_a_request_that_was_refused_before_its_lane_was_known(traffic: Traffic) -> None:
    passed(traffic, lane="")
    assert traffic.ended() == [] and traffic.under_way() == []
    assert sum(one.requests for one in traffic.rates(["m:1"])) == 0


def test_traffic_rates_sum_models_by_interval(traffic: Traffic, clock: Clock) -> None:
    passed(traffic, "a:1")
    passed(traffic, "b:1", status=503, tokens=0)
    clock.now += INTERVAL
    passed(traffic, "a:1")
    passed(traffic, "c:1")
    rates = traffic.rates(["a:1", "b:1", "a:1"])
    assert len(rates) == INTERVALS
    assert [(one.requests, one.failures, one.output_tokens) for one in rates[-2:]] == [(2, 1, 3), (1, 0, 3)]


def test_traffic_rates_forget_what_is_too_old(traffic: Traffic, clock: Clock) -> None:
    passed(traffic)
    clock.now += INTERVAL * (INTERVALS - 1)
    assert traffic.rates(["m:1"])[0].requests == 1
    clock.now += INTERVAL
    assert sum(one.requests for one in traffic.rates(["m:1"])) == 0
    passed(traffic)
    assert traffic.rates(["m:1"])[-1].requests == 1


def test_traffic_keeps_a_bounded_number_of_requests(traffic: Traffic) -> None:
    for _request in range(MOST_ENDED + 5):
        newest = passed(traffic)
    assert len(traffic.ended()) == MOST_ENDED
    assert traffic.ended()[0] is newest
