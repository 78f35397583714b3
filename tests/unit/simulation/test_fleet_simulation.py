# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulation of a fleet reproduces what it has found, makes that smaller, and finds bugs put in on purpose."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fleet_simulation import Ask, Fault, Outcome, Plan, make_plan, run_plan, shrink
from history import Happened
from planted_bugs import BUGS
from quorum_queue import Series

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
        ("requeue that loses count", 13, "unmarked"),
        ("refusal taken for a confirm", 30, "never was with the broker"),
        ("redelivery taken for a copy", 185, "too early"),
        ("slot that stays taken", 2, "lost"),
        ("confirm that is waited for", 193, "for ever"),
        ("broken lane that is used at once", 1036, "lost"),
        ("error for an answer", 0, "the answer is the error ollama_unavailable"),
        ("list that grows", 0, "in Scheduler._ended"),
        ("channel for every get", 0, "channels open"),
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


def _waits_of_a_lane(outcome: Outcome, lane: int, since: float, until: float) -> float:
    """Return the longest time without an answer in a lane, of those that begin in a time."""
    times = [
        event.at
        for event in outcome.history.events
        if event.what is Happened.RECEIVED and outcome.plan.asks[int(event.request[1:])].lane == lane
    ]
    return max(later - earlier for earlier, later in zip(times, times[1:]) if since < earlier < until)


def test_run_plan_with_a_leader_that_stands_still_goes_on_with_the_lanes_of_the_others() -> None:
    """The model of the other lanes is loaded: without the fault a lane waits for 10 seconds before it is preferred."""
    plan = Plan(
        seed=1,
        series=Series.V4_0,
        lanes=(("chat", "llama:1b", "model"), ("chat", "mini:latest", "model")),
        serves=((0, 1),),
        slots=(1,),
        seconds=((0.5, 0.5),),
        asks=tuple(Ask(1.0 + 0.4 * number, number % 2) for number in range(200)),
        faults=(Fault(20.0, "stand_still", 0, 15.0),),
    )
    outcome = run_plan(plan)
    assert outcome.counters["questions that a leader never answers"] and not outcome.problems
    assert _waits_of_a_lane(outcome, 1, 20.0, 35.0) < 7.0
    assert _waits_of_a_lane(outcome, 0, 1.0, 35.0) < 15.0 + 20.0
    with BUGS["silence that is waited for"]():
        assert _waits_of_a_lane(run_plan(plan), 1, 20.0, 35.0) > 30.0


@pytest.mark.parametrize("style", ["model", "shared"])
def test_run_plan_with_a_queue_without_a_process_goes_on_with_the_other_lanes(style: str) -> None:
    plan = Plan(
        seed=1,
        series=Series.V4_0,
        lanes=(("chat", "llama:1b", "model"), ("chat", "mini:latest", style)),
        serves=((0, 1),),
        slots=(2,),
        seconds=((0.5, 2.0),),
        asks=tuple(Ask(1.0 + 0.8 * number, number % 2) for number in range(100)),
        faults=(Fault(20.0, "orphan", 0, 60.0),),
    )
    outcome = run_plan(plan)
    assert outcome.counters["connections that end for a queue without a process"] and not outcome.problems
    assert _waits_of_a_lane(outcome, 1, 18.0, 80.0) < 7.0
    with BUGS["broken lane that is used at once"]():
        outcome = run_plan(plan)
        assert _waits_of_a_lane(outcome, 1, 18.0, 80.0) > 30.0
        assert bool(outcome.problems) is (style == "shared"), (
            "the broker delivers a request of a shared lane four times at most"
        )


def test_run_plan_with_a_lane_that_never_has_its_turn_calls_it_starved() -> None:
    """The first lane has more requests than the worker can do in the time, and its model is loaded."""
    plan = Plan(
        seed=1,
        series=Series.V4_0,
        lanes=(("chat", "llama:1b", "model"), ("chat", "mini:latest", "model")),
        serves=((0, 1),),
        slots=(1,),
        seconds=((0.5, 0.5),),
        asks=(*(Ask(1.0 + 0.4 * number, 0) for number in range(250)), Ask(10.0, 1)),
        faults=(),
    )
    assert not run_plan(plan).problems
    with BUGS["lane that never starves"]():
        outcome = run_plan(plan)
    assert [(found.kind, found.request) for found in outcome.verdict.findings] == [("starved", "r250")]


def _one_lane(*asks: Ask, faults: tuple[Fault, ...] = (), **others: Any) -> Plan:
    """A plan of one worker with one slot, which takes a second for each request."""
    lanes = (("chat", "llama:1b", "model"),)
    return Plan(1, Series.V4_0, lanes, ((0,),), (1,), ((1.0, 1.0),), asks, faults, **others)


def test_run_plan_with_a_model_that_does_not_load_pauses_it_and_excuses_the_errors_of_that_time_alone() -> None:
    asks = [Ask(1.0 + 2.0 * number, 0) for number in range(50)]
    outcome = run_plan(_one_lane(*asks, faults=(Fault(10.0, "model_broken", 0, 30.0),)))
    assert not outcome.problems
    assert outcome.counters["probes"] and outcome.counters["model_pauses"]
    assert outcome.verdict.errors["inference_failed"] >= 3
    for failed in outcome.verdict.explained:
        (received,) = [one for one in outcome.history.of(failed.request) if one.what is Happened.RECEIVED]
        assert 10.0 < received.at < 41.0


def test_run_plan_with_a_short_consumer_timeout_has_deliveries_taken_back() -> None:
    """Ollama stands still for longer than the broker lets a delivery be."""
    faults = (Fault(5.0, "ollama_slow", 0, 20.0),)
    plan = _one_lane(*(Ask(4.0 + number, 0) for number in range(4)), faults=faults, consumer_timeout=5.0)
    outcome = run_plan(plan)
    assert outcome.counters["consumer timeouts"] and not outcome.problems
    kinds = {one.detail for one in outcome.history.events if one.what is Happened.FAULT}
    assert "consumer timeout" in kinds


def test_run_plan_with_requests_that_do_not_wait_for_long_lets_them_expire() -> None:
    """The worker is busy for longer, and nobody has broken anything."""
    plan = _one_lane(*(Ask(1.0 + 0.01 * number, 0, 5.0) for number in range(12)))
    outcome = run_plan(plan)
    assert not outcome.problems
    assert outcome.verdict.expired + outcome.verdict.errors["inference_timeout"] > 2


def test_make_plan_of_many_seeds_draws_what_is_rare() -> None:
    plans = [make_plan(seed) for seed in range(100)]
    assert any(fault.kind == "model_broken" for plan in plans for fault in plan.faults)
    assert any(plan.consumer_timeout < 60.0 for plan in plans)
    assert any(ask.expiration is not None and ask.expiration < 40.0 for plan in plans for ask in plan.asks)


def test_run_plan_with_a_queue_without_a_leader_twice_takes_its_commands_in_their_order() -> None:
    """Seed 1671 with ten times as many requests, made smaller: a get was taken after the end of its channel."""
    plan = Plan(
        seed=1671,
        series=Series.V4_0,
        lanes=(("chat", "qwen:7b", "shared"), ("embed", "mini:latest", "model")),
        serves=((0, 1), (1,)),
        slots=(2, 1),
        seconds=((0.1, 2.0), (0.1, 2.0)),
        asks=(Ask(90.365, 1), Ask(91.648, 0), Ask(91.659, 0, 100.0), Ask(91.670, 0)),
        faults=(Fault(85.321, "elect", 1, 35.56), Fault(108.464, "kill_broker", 1, 12.47)),
    )
    assert not run_plan(plan).problems
