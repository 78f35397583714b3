# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deltas as they arrive: lost, doubled, out of order, from tries that were given up."""

from __future__ import annotations

import random

from ansible_collections.legionio.ollama.plugins.module_utils._fleet.arrivals import WINDOW, Arrivals, StreamSummary
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import Delta


def shown(arrivals: Arrivals, *arriving: tuple[str, int]) -> list[tuple[str, int]]:
    """What is passed on when these arrive one after the other."""
    found = []
    for seconds, (attempt, sequence) in enumerate(arriving, start=1):
        arrivals.add(Delta(attempt, sequence), float(seconds))
        found += [(delta.attempt, delta.sequence) for delta in arrivals.take()]
    return found


def test_in_order() -> None:
    arrivals = Arrivals()
    assert shown(arrivals, ("a", 0), ("a", 1), ("a", 2)) == [("a", 0), ("a", 1), ("a", 2)]
    assert arrivals.summary("a", 3) == StreamSummary(deltas=3, attempts=1, first_seconds=1.0)


def test_any_order_is_put_right_and_each_is_passed_on_once() -> None:
    for seed in range(200):
        numbers = [*range(10), *random.Random(seed).choices(range(10), k=5)]
        random.Random(seed).shuffle(numbers)
        arrivals = Arrivals()
        assert shown(arrivals, *(("a", number) for number in numbers)) == [("a", number) for number in range(10)]
        summary = arrivals.summary("a", 10)
        assert (summary.deltas, summary.missing, summary.duplicates) == (10, 0, 5)


def test_one_that_is_lost_is_waited_for_within_bounds() -> None:
    arrivals = Arrivals()
    late = [("a", number) for number in range(2, 3 + WINDOW)]
    assert shown(arrivals, ("a", 0), *late[:-1]) == [("a", 0)]
    assert shown(arrivals, late[-1]) == late
    # It comes after all, when it is of no use any more: not shown, and not missing.
    assert shown(arrivals, ("a", 1)) == []
    assert arrivals.summary("a", 3 + WINDOW).missing == 0


def test_missing_deltas_are_counted() -> None:
    arrivals = Arrivals()
    shown(arrivals, ("a", 0), ("a", 3))
    assert arrivals.summary("a", 5).missing == 3


def test_another_attempt_starts_the_answer_over() -> None:
    arrivals = Arrivals()
    assert shown(arrivals, ("a", 0), ("a", 1), ("a", 3), ("b", 0), ("a", 2), ("b", 1), ("a", 4)) == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("b", 1),
    ]
    assert arrivals.summary("b", 2) == StreamSummary(deltas=4, attempts=2, first_seconds=1.0)


def test_unread_deltas_are_dropped_when_another_attempt_begins() -> None:
    """A reader that was slow gets nothing of a try that was given up; one that was fast has had it already."""
    arrivals = Arrivals()
    arrivals.add(Delta("a", 0), 1.0)
    arrivals.add(Delta("b", 0), 2.0)
    assert [(delta.attempt, delta.sequence) for delta in arrivals.take()] == [("b", 0)]
    assert arrivals.summary("b", 1) == StreamSummary(deltas=1, attempts=2, first_seconds=1.0)


def test_an_answer_without_deltas() -> None:
    assert Arrivals().summary(None, 0) == StreamSummary()
    # Kept from a try whose deltas went elsewhere.
    assert Arrivals().summary("a", 7).missing == 7
