# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a key: which request is refused, and the time after which it is not."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Callable

import pytest
from fleet_gateway.domain import allowance
from fleet_gateway.domain.allowance import Allowances
from fleet_gateway.domain.errors import GatewayError
from fleet_gateway.settings.keys import KeyConfig

from .known_keys import key


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Midnight(datetime):
    """Half a second before midnight UTC."""

    @classmethod
    def now(cls, tz: object = None) -> Midnight:
        assert tz is timezone.utc
        return cls(2026, 12, 31, 23, 59, 59, 500_000, tzinfo=timezone.utc)


def refusal(allowances: Allowances, limited: KeyConfig) -> GatewayError:
    """Return the refusal of a request."""
    with pytest.raises(GatewayError) as refused:
        with allowances.request(limited):
            pass
    assert (refused.value.status, refused.value.code) == (429, "rate_limit_exceeded")
    assert "alice" in refused.value.message
    return refused.value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def allowances(clock: Callable[[], float]) -> Allowances:
    return Allowances(lambda _name: 0, clock)


def test_request_beyond_those_at_a_time_is_refused_until_one_ends(allowances: Allowances) -> None:
    limited = key(concurrent=2)
    with allowances.request(limited):
        with allowances.request(limited):
            assert refusal(allowances, limited).retry_after == 1.0
            assert allowances.running("alice") == 2
        assert allowances.running("alice") == 1
        with allowances.request(limited):
            pass
    assert allowances.running("alice") == 0


def test_request_that_raises_has_ended(allowances: Allowances) -> None:
    with pytest.raises(ZeroDivisionError):
        with allowances.request(key(concurrent=1)):
            raise ZeroDivisionError
    assert allowances.running("alice") == 0


def test_request_of_another_key_does_not_count(allowances: Allowances) -> None:
    limited = key(concurrent=1, per_minute=1)
    with allowances.request(limited), allowances.request(limited.model_copy(update={"name": "bob"})):
        assert (allowances.running("alice"), allowances.running("bob")) == (1, 1)


def test_request_beyond_those_a_minute_says_when_there_is_room(allowances: Allowances, clock: Clock) -> None:
    limited = key(per_minute=2)
    for _number in range(2):
        with allowances.request(limited):
            clock.now += 10
    assert refusal(allowances, limited).retry_after == 40
    clock.now += 39.5
    assert refusal(allowances, limited).retry_after == 1.0  # no client should try again at once
    clock.now += 0.5
    with allowances.request(limited):
        pass
    assert refusal(allowances, limited).retry_after == 10  # the second of the first two is still in the minute


def test_request_that_is_refused_does_not_count_for_the_minute(allowances: Allowances, clock: Clock) -> None:
    limited = key(per_minute=1)
    with allowances.request(limited):
        pass
    clock.now += 30
    assert refusal(allowances, limited).retry_after == 30
    clock.now += 30
    with allowances.request(limited):
        pass


def test_request_beyond_a_limit_that_was_lowered_waits_until_enough_have_left_the_minute(
    allowances: Allowances, clock: Clock
) -> None:
    for _number in range(3):
        with allowances.request(key(per_minute=3)):
            clock.now += 10
    assert refusal(allowances, key(per_minute=1)).retry_after == 50


def test_request_beyond_the_tokens_of_a_day_waits_for_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"alice": 99}
    allowances = Allowances(lambda name: used[name])
    limited = key(tokens_per_day=100)
    with allowances.request(limited):
        used["alice"] = 100
    assert 1 <= (refusal(allowances, limited).retry_after or 0) <= 86400
    monkeypatch.setattr(allowance, "datetime", Midnight)
    assert refusal(allowances, limited).retry_after == 1.0
    assert allowances.running("alice") == 0


def test_request_of_a_key_without_limits_asks_for_no_tokens() -> None:
    allowances = Allowances(lambda _name: 1 // 0)
    with allowances.request(key()):
        assert allowances.running("alice") == 1
