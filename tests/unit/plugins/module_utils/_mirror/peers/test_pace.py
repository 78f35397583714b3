# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When slow neighbours are a reason to read the mirror."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.pace import (
    FASTER,
    REMEMBERED,
    REMEMBERED_FAILURE,
    SLOW,
    WINDOW,
    Pace,
)


def slow(rate=SLOW // 2, seconds=WINDOW):
    """The pace of neighbours that have sent at a rate for some time, at the time 0."""
    pace = Pace()
    pace.neighbour_begins(-seconds)
    pace.received(int(rate * seconds))
    return pace


@pytest.mark.parametrize(
    "rate, seconds, importers, faster",
    [
        (SLOW // 2, WINDOW, 1, True),
        (SLOW // 2, WINDOW - 1, 1, False),  # too early
        (SLOW, WINDOW, 1, False),
        (0, WINDOW, 20, False),  # many imports: pieces are rare at the beginning
        (0, 5 * WINDOW, 20, True),
    ],
)
def test_unknown_mirror_may_be_faster_than_slow_neighbours(rate, seconds, importers, faster):
    assert slow(rate, seconds).mirror_is_faster(importers, 0.0) is faster


@pytest.mark.parametrize("factor, faster", [(FASTER * 1.1, True), (FASTER * 0.9, False), (0, False)])
def test_known_mirror_must_be_clearly_faster(factor, faster):
    pace = slow()
    pace.mirror_begins(0, -1.0)
    pace.mirror_received(0, int(factor * SLOW / 2))
    pace.mirror_ended(0, 0.0)
    assert pace.mirror_is_faster(1, 0.0) is faster
    assert pace.mirror_is_faster(1, REMEMBERED * WINDOW + 1) is True  # which is unknown after a while


def test_mirror_that_failed_may_be_faster_after_a_while():
    pace = slow()
    pace.mirror_begins(0, -1.0)
    pace.mirror_ended(0, 0.0, failed=True)
    assert pace.mirror_is_faster(1, REMEMBERED_FAILURE * WINDOW - 1) is False
    assert pace.mirror_is_faster(1, REMEMBERED_FAILURE * WINDOW + 1) is True


def test_seconds_without_a_request_do_not_make_neighbours_slow():
    pace = Pace()
    for second in range(100):
        pace.neighbour_begins(float(second))
        pace.received(SLOW)
        pace.neighbour_ended(second + 0.1)
        assert not pace.mirror_is_faster(1, second + 0.5)


def test_neighbours_that_become_faster_are_preferred_again():
    pace = slow()
    assert pace.mirror_is_faster(1, 0.0)
    pace.received(int(SLOW * WINDOW))
    assert not pace.mirror_is_faster(1, WINDOW)


def test_mirror_seconds_are_those_of_the_slowest_recent_read():
    pace = Pace()
    assert pace.mirror_seconds(0.0) == 0.0
    pace.mirror_begins(0, 0.0)
    pace.mirror_begins(1, 2.0)
    assert pace.mirror_seconds(10.0) == 10.0
    pace.mirror_ended(0, 10.0)
    pace.mirror_ended(1, 30.0, failed=True)  # a failed read says nothing
    assert pace.mirror_seconds(30.0) == 10.0
    for number in range(5):
        pace.mirror_begins(number, 30.0)
        pace.mirror_ended(number, 31.0)
    assert pace.mirror_seconds(31.0) == 1.0
