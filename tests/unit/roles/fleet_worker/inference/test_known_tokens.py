# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A token is good for one request, however often that comes."""

from __future__ import annotations

import time

from fleet_worker.inference.known_tokens import KnownTokens

LATER = time.time() + 3600


def test_admit_of_a_new_token_takes_it_each_time_for_its_request() -> None:
    known = KnownTokens()
    assert [known.admit("t", "request", LATER) for _time in range(3)] == [True, True, True]


def test_admit_of_the_token_of_another_request_refuses_it() -> None:
    known = KnownTokens()
    assert known.admit("t", "request", LATER)
    assert not known.admit("t", "other", LATER)
    assert known.admit("t", "request", LATER), "the first one is served on"


def test_admit_forgets_what_has_expired() -> None:
    known = KnownTokens()
    assert known.admit("old", "request", time.time() - 1)
    assert known.admit("new", "request", LATER)
    assert len(known._known) == 1


def test_admit_remembers_so_many_and_no_more() -> None:
    known = KnownTokens(most=10)
    for number in range(100):
        assert known.admit(str(number), "request", LATER)
    assert len(known._known) == 10
    assert not known.admit("99", "other", LATER)
