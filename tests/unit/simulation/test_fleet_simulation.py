# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulation of a fleet reproduces what it has found, makes that smaller, and finds bugs put in on purpose."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from fleet_simulation import Outcome, make_plan, run_plan, shrink
from planted_bugs import BUGS

#: Seeds that are tried for a planted bug, beginning with one that has found it.
TRIES = 150


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """A broken connection is nothing special here."""
    loggers = [logging.getLogger(name) for name in ("pika", "fleet_worker")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    loggers[1].propagate = False
    yield
    for logger, level in zip(loggers, levels):
        logger.setLevel(level)
    loggers[1].propagate = True


def _finding(first: int) -> Outcome:
    for seed in range(first, first + TRIES):
        outcome = run_plan(make_plan(seed))
        if outcome.problems:
            return outcome
    raise AssertionError(f"no seed from {first} to {first + TRIES - 1} has found the bug")


def test_run_plan_of_the_same_seed_twice_has_the_same_history() -> None:
    first, second = run_plan(make_plan(7)), run_plan(make_plan(7))
    assert first.history.events and first.history.events == second.history.events
    assert (first.events, first.problems) == (second.events, second.problems)


@pytest.mark.parametrize(
    "bug, first, sign",
    [
        ("ack before confirm", 0, "too early"),
        ("requeue that loses count", 9, "unmarked"),
        ("refusal taken for a confirm", 30, "never was with the broker"),
        ("redelivery taken for a copy", 25, "too early"),
        ("slot that stays taken", 2, "lost"),
        ("confirm that is waited for", 108, "for ever"),
    ],
)
def test_run_plan_with_a_planted_bug_finds_it(bug: str, first: int, sign: str) -> None:
    with BUGS[bug]():
        outcome = _finding(first)
    assert sign in "\n".join(outcome.problems), f"seed {outcome.plan.seed}: {outcome.problems}"
    assert not run_plan(outcome.plan).problems, "without the bug the same plan is survived"


def test_shrink_of_a_failing_plan_leaves_what_it_takes_to_fail() -> None:
    with BUGS["ack before confirm"]():
        outcome = _finding(0)
        smallest = shrink(outcome.plan, lambda plan: bool(run_plan(plan).problems))
        assert run_plan(smallest).problems
    assert len(smallest.asks) == 1 and not smallest.faults
