# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A token is good for one request, however often that comes."""

from __future__ import annotations

import time

import pytest
from fleet_worker.inference import known_tokens
from fleet_worker.inference.known_tokens import KnownTokens

LATER = time.time() + 3600


def test_refusal_of_a_new_token_is_none_each_time_for_its_request() -> None:
    known = KnownTokens()
    assert [known.refusal("t", "request", LATER) for _time in range(3)] == [None, None, None]


def test_refusal_of_the_token_of_another_request_says_so() -> None:
    known = KnownTokens()
    assert known.refusal("t", "request", LATER) is None
    assert "another request" in str(known.refusal("t", "other", LATER))
    assert known.refusal("t", "request", LATER) is None, "the first one is served on"


def test_refusal_forgets_what_has_expired() -> None:
    known = KnownTokens()
    assert known.refusal("old", "request", time.time() - 1) is None
    assert known.refusal("new", "request", LATER) is None
    assert len(known._known) == 1


def test_refusal_of_very_many_tokens_remembers_so_many_and_no_more() -> None:
    known = KnownTokens(most=10)
    for number in range(100):
        assert known.refusal(str(number), "request", LATER) is None
    assert len(known._known) == 10
    assert "another request" in str(known.refusal("99", "other", LATER))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(known_tokens, "time", clock)
    return clock


def test_refusal_after_the_clock_went_forward_and_back_takes_no_token_again(clock: Clock) -> None:
    known = KnownTokens()
    assert known.refusal("t", "request", clock.now + 180) is None
    clock.now += 7200
    assert known.refusal("other", "request", clock.now + 180) is None
    assert "t" not in known._known, "it was forgotten, since it had expired"
    clock.now -= 7200
    assert "clock" in str(known.refusal("t", "replay", clock.now + 180))
    assert known.refusal("new", "request", clock.now + 181) is None, "it cannot have been forgotten"
    clock.now += 181
    assert known.refusal("newer", "request", clock.now + 180) is None


def test_refusal_after_the_clock_went_back_still_knows_the_token(clock: Clock) -> None:
    known = KnownTokens()
    assert known.refusal("t", "request", clock.now + 180) is None
    clock.now -= 3600
    assert "another request" in str(known.refusal("t", "replay", clock.now + 3780))
    assert known.refusal("t", "request", clock.now + 3780) is None


def test_refusal_of_a_token_that_expired_while_its_request_waited_here_is_none(clock: Clock) -> None:
    known = KnownTokens()
    for name in ("a", "b"):
        clock.now += 1
        assert known.refusal(name, name, clock.now - 100) is None
