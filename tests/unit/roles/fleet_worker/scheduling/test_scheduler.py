# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy of the scheduler: its rules one by one, and what holds whatever happens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from depth import rounds
from fleet_worker.domain.lane_rule import ALONE, LaneRule
from fleet_worker.scheduling.actions import Cancel, Consume, Get, GiveBack, Mode, Start
from fleet_worker.scheduling.lanes import SILENT
from fleet_worker.scheduling.scheduler import DWELL, HOLD, PEEK, SWEEP, Scheduler
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ..broker_model import Request, Simulation

A, B, C = LaneRule("a", "m1"), LaneRule("b", "m2"), LaneRule("c", "m3", priority=5)


def pushing(rules: list[LaneRule], slots: int, **options: Any) -> Simulation:
    """A worker that has found nothing to do."""
    simulation = Simulation(rules, slots, **options)
    simulation.open()
    simulation.run(until=1.0)
    assert simulation.scheduler.mode is Mode.PUSH
    simulation.actions.clear()
    return simulation


# Rule 1: pull first, push after a whole sweep that found nothing.


def test_scheduler_begins_with_gets_and_consumes_empty_queues() -> None:
    simulation = Simulation([A, B, C], slots=1)
    simulation.open()
    assert simulation.actions == [Get("c")], "the lane of the highest priority first"
    simulation.run(until=DWELL - 0.001)
    assert simulation.scheduler.mode is Mode.PULL
    assert not any(isinstance(action, Consume) for action in simulation.actions)
    simulation.run(until=DWELL + SWEEP + 0.01)
    assert simulation.scheduler.mode is Mode.PUSH
    assert simulation.actions[-3:] == [Consume("c", 1), Consume("a", 1), Consume("b", 1)]


def test_waiting_requests_start_in_order_of_priority() -> None:
    simulation = Simulation([A, B, C], slots=1)
    for queue in "abc":
        simulation.publish(queue)
    simulation.open()
    simulation.run(until=2.0)
    assert simulation.started[0].queue == "c"
    assert len(simulation.finished) == 3
    assert simulation.scheduler.mode is Mode.PUSH


def test_gets_are_no_more_than_free_slots() -> None:
    simulation = Simulation([A, B, C], slots=2)
    simulation.open()
    assert len([action for action in simulation.actions if isinstance(action, Get)]) == 2


# A broker that does not answer for a lane.


def test_lane_that_is_silent_takes_no_slot_from_the_others() -> None:
    scheduler = Scheduler([A, B], 1)
    assert scheduler.open(["a", "b"], 0.0) == [Get("a")]
    assert scheduler.silent("a", 5.0, asked=True) == [Get("b")]
    assert scheduler.got("b", "item", 5.1) == [Start("m2", ("item",))]
    assert scheduler.finished("m2", 5.2) == [Get("b")], "the lane is left alone for a while"
    scheduler.got("b", "item", 5.3)
    assert scheduler.finished("m2", 5.0 + SILENT) == [Get("b"), Get("a")], "then it is asked beside the others"


def test_lane_that_is_silent_keeps_the_others_from_being_consumed_and_not_from_being_asked() -> None:
    scheduler = Scheduler([A, B], 2)
    scheduler.open(["a", "b"], 0.0)
    scheduler.got("a", None, 0.0)
    scheduler.got("b", None, 0.0)
    assert {action.queue for action in scheduler.tick(1.0) if isinstance(action, Consume)} == {"a", "b"}
    assert scheduler.silent("a", 6.0, asked=False) == [Cancel("a"), Cancel("b"), Get("b")]
    assert (scheduler.mode, scheduler.is_silent("a")) == (Mode.PULL, True)
    scheduler.got("a", None, 6.1)
    assert not scheduler.is_silent("a")


def test_lane_that_stays_silent_is_asked_less_and_less() -> None:
    scheduler = Scheduler([A], 1)
    scheduler.open(["a"], 0.0)
    now, pauses = 0.0, []
    for _time in range(8):
        began = now
        scheduler.silent("a", now, asked=True)
        while Get("a") not in scheduler.tick(now):
            now += 0.1
        pauses.append(round(now - began))
    assert pauses == [3, 5, 10, 20, 40, 60, 60, 60]


# Rule 2: push.


def test_a_request_that_arrives_starts_at_once() -> None:
    simulation = pushing([A, B], slots=2)
    request = simulation.publish("a")
    simulation.run(until=1.5)
    assert request.started == pytest.approx(1.0 + simulation.latency)
    assert simulation.scheduler.mode is Mode.PUSH
    assert not any(isinstance(action, (Cancel, Get)) for action in simulation.actions)


def consuming(simulation: Simulation) -> list[Any]:
    found = [action for action in simulation.actions if isinstance(action, (Consume, Cancel))]
    simulation.actions.clear()
    return found


def test_a_lane_that_has_the_worker_for_itself_gets_a_second_consumer() -> None:
    simulation = pushing([A, B], slots=4, work=lambda _request: 0.04)
    simulation.publish("a")
    simulation.run(until=1.01)
    assert consuming(simulation) == [Consume("a", 7, hot=True)]
    simulation.publish("b")
    simulation.run(until=1.02)
    assert consuming(simulation) == [], "another model is at work"


def test_a_lane_of_the_loaded_model_gets_it_while_a_slot_is_free() -> None:
    simulation = pushing([A, B], slots=1, work=lambda _request: 0.01)
    simulation.publish("a")
    simulation.run(until=1.1)
    assert consuming(simulation) == [], "there is one slot, and it was taken"
    simulation.publish("a")
    simulation.run(until=1.2)
    assert consuming(simulation) == [Consume("a", 1, hot=True)]


def test_the_second_consumer_moves_to_another_lane_and_there_is_never_a_third() -> None:
    simulation = pushing([A, B, C], slots=2, work=lambda _request: 0.01)
    for queue in "abc":
        simulation.publish(queue)
        simulation.run(until=simulation.now + 0.1)
    assert consuming(simulation) == [
        Consume("a", 3, hot=True),
        Cancel("a", hot=True),
        Consume("b", 3, hot=True),
        Cancel("b", hot=True),
        Consume("c", 3, hot=True),
    ]


def test_a_single_lane_keeps_all_slots_busy() -> None:
    simulation = pushing([A], slots=4, work=lambda _request: 0.04)
    requests = [simulation.publish("a") for _number in range(12)]
    simulation.run(until=1.005)
    assert simulation.scheduler.running == 4
    simulation.run(until=3.0)
    assert len(simulation.finished) == len(requests)
    # 12 requests of 40 ms on 4 slots are 120 ms; the first comes alone, and changing over costs a little.
    assert max(request.started for request in requests) < 1.0 + 0.12 + 0.05


# Rule 3: from push to pull.


def test_scheduler_with_a_long_request_and_free_slots_starts_the_next_one_of_its_lane() -> None:
    """The second consumer is at another lane: the model of that one ran last."""
    simulation = pushing([A, B], slots=3, work=lambda request: 0.3 if request.queue == "b" else 60.0)
    simulation.publish("b")
    simulation.run(until=1.1)
    simulation.publish("a")
    simulation.run(until=1.2)
    second = simulation.publish("a")
    simulation.run(until=1.2 + 2 * PEEK)
    assert second.started >= 0
    assert simulation.scheduler.mode is Mode.PUSH


def test_hold_timeout_cancels_consumers_hot_lane_first() -> None:
    simulation = pushing([B, C, A], slots=1, work=lambda _request: 5.0)
    for _number in range(2):
        simulation.publish("a")
        simulation.run(until=simulation.now + 0.01)
    simulation.run(until=7.0)  # the first is over, the second runs
    simulation.actions.clear()
    simulation.publish("a")
    simulation.run(until=simulation.now + HOLD / 2)
    assert not any(isinstance(action, Cancel) for action in simulation.actions)
    simulation.run(until=simulation.now + HOLD)
    cancelled = [action for action in simulation.actions if isinstance(action, Cancel)]
    assert simulation.scheduler.mode is Mode.PULL
    assert {action.queue for action in cancelled} == {"a", "b", "c"}
    assert not any(isinstance(action, GiveBack) for action in simulation.actions)


def test_held_request_runs_on_this_node_after_pull_began() -> None:
    simulation = pushing([A, B], slots=1, work=lambda _request: 1.0)
    requests = [simulation.publish(queue) for queue in "ab"]
    simulation.run(until=1.5)
    assert (simulation.scheduler.held, simulation.scheduler.mode) == (1, Mode.PULL)
    simulation.run(until=4.0)
    assert [request.given_back for request in requests] == [0, 0]
    assert len(simulation.finished) == 2


def test_busy_node_leaves_requests_in_the_queue() -> None:
    simulation = pushing([A], slots=1, work=lambda _request: 10.0)
    for _number in range(10):
        simulation.publish("a")
    simulation.run(until=5.0)
    assert len(simulation.queues["a"]) >= 10 - 1 - 2


# Rule 4: pull.


def test_requests_of_the_loaded_model_run_after_each_other() -> None:
    simulation = Simulation([A, B], slots=1, work=lambda _request: 0.1)
    simulation.open()
    for _number in range(10):
        simulation.publish("a")
        simulation.publish("b")
    simulation.run(until=5.0)
    order = [request.queue for request in simulation.started]
    assert len(order) == 20
    assert sum(one != other for one, other in zip(order, order[1:])) <= 3


def test_no_lane_waits_for_longer_than_the_cap_and_what_runs() -> None:
    simulation = Simulation([A, B], slots=1, work=lambda _request: 0.5, starvation=3.0)
    simulation.open()
    for number in range(200):
        simulation.at(number * 0.4, lambda: simulation.publish("a"))
    late: list[Request] = []
    for number in range(8):
        simulation.at(number * 10.0 + 1.0, lambda: late.append(simulation.publish("b")))
    simulation.run(until=80.0)
    assert len(late) == 8
    for request in late:
        assert 0 <= request.started - request.arrived <= 3.0 + 2 * 0.5 + 0.1


def test_priority_orders_unloaded_models() -> None:
    simulation = pushing([A, B, C], slots=1, work=lambda _request: 0.3)
    for queue in "abc":
        simulation.publish(queue)
        simulation.run(until=simulation.now + 0.005)
    simulation.run(until=4.0)
    assert [request.queue for request in simulation.started] == ["a", "c", "b"]


# Rule 5: queues that expire.


@pytest.mark.parametrize("why", ["busy", "paused", "blocked", "draining"])
def test_a_queue_that_expires_is_kept_alive(why: str) -> None:
    expiring = LaneRule("x", "m9", expires=60.0)
    simulation = Simulation([A, expiring], slots=1, work=lambda _request: 500.0)
    simulation.open()
    simulation.run(until=1.0)
    if why in ("busy", "draining"):
        simulation.publish("a")
        simulation.publish("a")
    if why == "paused":
        simulation.open(["a"])
    if why == "blocked":
        simulation.perform(simulation.scheduler.block(True, simulation.now))
        simulation.publish("a")
    simulation.run(until=2.0)
    if why == "draining":
        simulation.drain()
    simulation.run(until=400.0)
    assert simulation.expired == []


def test_request_from_a_keep_alive_get_is_held_until_there_is_room() -> None:
    expiring = LaneRule("x", "m9", expires=60.0)
    simulation = pushing([A, expiring], slots=1, work=lambda _request: 50.0)
    simulation.publish("a")
    simulation.publish("a")
    simulation.run(until=2.0)
    request = simulation.publish("x")
    simulation.run(until=200.0)
    assert request.started > 0
    assert request.given_back == 0


def paused_with_a_request(**others: Any) -> tuple[Simulation, Request]:
    """A worker that cannot serve an expiring lane, in which a request waits."""
    simulation = pushing([A, LaneRule("x", "m9", expires=60.0)], slots=1, **others)
    simulation.open(["a"])
    simulation.run(until=2.0)
    return simulation, simulation.publish("x")


def test_request_that_keeping_a_closed_lane_alive_brings_goes_back_at_once() -> None:
    simulation, request = paused_with_a_request()
    simulation.run(until=30.0)
    assert (request.started, request.given_back) == (-1.0, 1), "another node may be able to answer it"
    assert list(simulation.queues["x"]) == [request] and simulation.expired == []
    simulation.open()
    simulation.run(until=31.0)
    assert request.started > 30.0


def test_closed_lane_whose_queue_has_consumers_of_other_nodes_brings_nothing() -> None:
    simulation, request = paused_with_a_request()
    simulation.consumed_elsewhere.add("x")
    simulation.run(until=200.0)
    assert Get("x", keeps_alive=True) in simulation.actions and Get("x") not in simulation.actions
    assert (request.started, request.given_back) == (-1.0, 0)


def test_lane_that_opens_before_the_get_is_answered_starts_what_it_brings() -> None:
    scheduler = Scheduler([LaneRule("x", "m9", expires=60.0)], 1)
    scheduler.declared(["x"], 0.0)
    assert scheduler.tick(20.0) == [Get("x", keeps_alive=True)]
    scheduler.open(["x"], 20.1)
    assert Start("m9", ("item",)) in scheduler.got("x", "item", 20.2)


def test_get_that_was_asked_before_its_lane_closed_keeps_its_request() -> None:
    """A return costs it a delivery, and the worker may wait for its Ollama."""
    scheduler = Scheduler([LaneRule("x", "m9", expires=60.0)], 1)
    scheduler.declared(["x"], 0.0)
    assert scheduler.open(["x"], 0.1) == [Get("x")]
    scheduler.open([], 0.2)
    assert scheduler.got("x", "item", 0.3) == [Start("m9", ("item",))]


# Batches.


def test_requests_of_a_batch_lane_start_together_when_a_slot_is_free() -> None:
    simulation = Simulation([LaneRule("e", "m1", batch=4), A], slots=1)
    requests = [simulation.publish("e") for _number in range(6)]
    simulation.open()
    simulation.run(until=1.0)
    assert simulation.batches == [4, 2]
    assert all(request.started >= 0 for request in requests)


def test_request_that_shares_no_call_starts_at_once_and_leaves_the_others_to_other_nodes() -> None:
    scheduler = Scheduler([LaneRule("e", "m1", batch=4)], 2)
    scheduler.open("e", 0.0)
    actions = scheduler.got("e", "carried", 0.1, more=8, shares=False)
    assert Start("m1", ("carried",)) in actions
    assert actions.count(Get("e")) == 1, "one for the other slot, and none for a batch"
    assert Start("m1", ("another",)) in scheduler.got("e", "another", 0.2, more=7, shares=False)
    assert scheduler.got("e", None, 0.3) == []


def test_request_that_shares_no_call_is_not_part_of_a_batch() -> None:
    scheduler = Scheduler([LaneRule("e", "m1", batch=4)], 1)
    scheduler.open("e", 0.0)
    scheduler.got("e", "first", 0.1)
    for item, shares in (("a", True), ("carried", False), ("b", True)):
        scheduler.delivered("e", item, 0.2, shares=shares)
    started = [action for action in scheduler.finished("m1", 1.0) if isinstance(action, Start)]
    started += [action for action in scheduler.finished("m1", 2.0) if isinstance(action, Start)]
    assert sorted(started, key=str) == sorted([Start("m1", ("a", "b")), Start("m1", ("carried",))], key=str)


def test_idle_worker_starts_requests_without_a_wait_for_a_batch() -> None:
    simulation = pushing([LaneRule("e", "m1", batch=4)], slots=1, work=lambda _request: 0.04)
    first = simulation.publish("e")
    simulation.run(until=1.01)
    assert first.started == pytest.approx(1.0 + simulation.latency)
    others = [simulation.publish("e") for _number in range(3)]
    simulation.run(until=2.0)
    # One came before the second consumer was there.
    assert sum(simulation.batches) == 4
    assert all(request.started < 1.2 for request in others)


def embedding(first: float) -> Simulation:
    """A lane with batches of 4 and two slots; the first request takes so many seconds, and the others 10 ms."""
    rules = [LaneRule("e", "m1", batch=4)]
    return pushing(rules, slots=2, work=lambda request: first if request.arrived <= 1.0 else 0.01)


def test_requests_for_a_busy_model_gather_in_a_batch() -> None:
    simulation = embedding(0.2)
    simulation.publish("e")
    simulation.run(until=1.06)
    one = simulation.publish("e")
    simulation.run(until=1.08)
    assert simulation.batches == [1]
    others = [simulation.publish("e") for _number in range(2)]
    simulation.run(until=1.2)
    assert simulation.batches == [1, 3]
    assert [request.started for request in (one, *others)] == [pytest.approx(1.06 + HOLD + simulation.latency)] * 3


def test_batch_starts_when_full_or_when_its_model_is_idle() -> None:
    simulation = embedding(0.1)
    simulation.publish("e")
    simulation.run(until=1.05)
    enough = [simulation.publish("e") for _number in range(4)]
    simulation.run(until=1.06)
    assert simulation.batches == [1, 4]
    assert all(request.started < 1.055 for request in enough)
    simulation.run(until=1.09)
    late = simulation.publish("e")
    simulation.run(until=1.2)
    assert simulation.batches == [1, 4, 1]
    assert late.started < 1.09 + HOLD, "its model was busy, and was not any more"


def test_gathering_lane_keeps_its_slot_and_fetches_the_rest_of_its_batch() -> None:
    simulation = Simulation([LaneRule("e", "m1", batch=4), A], slots=2, work=lambda _request: 1.0)
    for _number in range(9):
        simulation.publish("e")
    simulation.publish("a")
    simulation.open()
    simulation.run(until=5.0)
    assert sorted(simulation.batches) == [1, 1, 4, 4], "each lane was asked, and then one for what it had left"
    assert simulation.max_held <= 4


# Limits of a model.


def test_a_model_has_no_more_slots_than_it_may() -> None:
    one, other = LaneRule("a", "m1", limit=1), LaneRule("b", "m2")
    simulation = pushing([one, other], slots=3, work=lambda _request: 1.0)
    for _number in range(4):
        simulation.publish("a")
    simulation.run(until=1.5)
    assert simulation.running["m1"] == 1
    assert len(simulation.queues["a"]) == 3, "the rest stays where other nodes can take it"
    assert simulation.scheduler.mode is Mode.PUSH, "the other lanes are served as before"
    waiting = simulation.publish("b")
    simulation.run(until=1.51)
    assert waiting.started >= 0
    simulation.run(until=6.0)
    assert len(simulation.finished) == 5


def test_a_lane_whose_limit_is_lifted_while_its_model_is_full_is_consumed_again() -> None:
    full = [LaneRule("a", "m1", limit=1), LaneRule("b", "m1", limit=1)]
    simulation = pushing(full, slots=3, work=lambda _request: 1.0)
    for queue in "ab":
        simulation.publish(queue)
    simulation.run(until=1.5)
    assert [simulation.scheduler.mode_of(queue) for queue in "ab"] == ["pull", "pull"], "its consumers were taken away"
    simulation.rules = {rule.queue: LaneRule(rule.queue, rule.model) for rule in full}
    simulation.assign("ab")
    simulation.run(until=1.6)
    assert [simulation.scheduler.mode_of(queue) for queue in "ab"] == ["push", "push"]
    assert len(simulation.started) == 2


# Lanes that come and go.


def test_a_lane_that_is_withdrawn_gives_back_what_is_held_and_takes_nothing_any_more() -> None:
    simulation = pushing([A, B], slots=1, work=lambda _request: 1.0)
    first = simulation.publish("a")
    simulation.run(until=1.01)
    held = simulation.publish("b")
    simulation.run(until=1.02)
    assert simulation.scheduler.held == 1
    simulation.assign("a")
    assert held.given_back == 0, "its consumer would get it again"
    simulation.run(until=1.03)
    assert (simulation.scheduler.held, held.given_back) == (0, 1)
    simulation.run(until=1.1)
    later = simulation.publish("b")
    simulation.run(until=5.0)
    assert (first.started >= 0, held.started, later.started) == (True, -1.0, -1.0)
    simulation.assign("ab")
    simulation.scheduler.declared("ab", simulation.now)
    simulation.open("ab")
    simulation.run(until=10.0)
    assert len(simulation.finished) == 3


@pytest.mark.parametrize("change", [{"consumer_priority": 5}, {"limit": 3}])
def test_a_lane_whose_consumers_have_other_settings_is_consumed_anew(change: Any) -> None:
    """A running consumer keeps its priority and its prefetch."""
    simulation = pushing([A, B], slots=4, work=lambda _request: 0.04)
    simulation.publish("a")
    simulation.run(until=1.5)
    assert consuming(simulation) == [Consume("a", 7, hot=True)]
    simulation.rules["a"] = replace(A, **change)
    simulation.assign("ab")
    assert consuming(simulation) == [Cancel("a", hot=True), Cancel("a")]
    simulation.run(until=1.6)
    assert consuming(simulation) == [Consume("a", 1)]
    request = simulation.publish("a")
    simulation.run(until=1.7)
    assert request.started >= 1.6 and simulation.scheduler.mode is Mode.PUSH


def test_a_lane_with_another_priority_among_lanes_keeps_its_consumer() -> None:
    simulation = pushing([A, B], slots=1)
    simulation.rules["a"] = replace(A, priority=5, expires=60.0)
    simulation.assign("ab")
    assert consuming(simulation) == []


def test_a_throttled_lane_that_is_withdrawn_while_it_is_asked_gets_no_consumer() -> None:
    one, other = LaneRule("a", "m1", limit=1, expires=60.0), LaneRule("b", "m1", limit=1)
    scheduler = Scheduler([one, other], 2)
    scheduler.open("ab", 0.0)
    for queue in "ab":
        scheduler.got(queue, None, 0.0)
    assert Consume("a", 1) in scheduler.tick(DWELL)
    for queue in "ab":
        scheduler.delivered(queue, f"of {queue}", 1.0)
    assert scheduler.tick(1.0 + HOLD) == [Cancel("a"), Cancel("b")], "their model is full"
    for queue in "ab":
        scheduler.cancelled(queue, False, 1.1)
    assert scheduler.tick(1.0 + HOLD + 20.0) == [Get("a")], "its queue would expire"
    scheduler.assign([other], 22.0)
    assert scheduler.finished("m1", 23.0) == [Start("m1", ("of b",))]
    assert scheduler.finished("m1", 24.0) == [Consume("b", 1)]


# Leaving, and losing the channel.


def test_scheduler_drain_gives_back_only_when_the_broker_has_ended_the_consumer() -> None:
    """What is given back earlier comes again at once, and each time costs the request one of its deliveries."""
    simulation = pushing([A, B], slots=1, work=lambda _request: 1.0)
    simulation.publish("a")
    simulation.run(until=1.01)
    held = simulation.publish("b")
    simulation.run(until=1.02)
    scheduler = simulation.scheduler
    actions = scheduler.drain(1.02)
    assert Cancel("b") in actions and GiveBack(held) not in actions
    assert scheduler.finished("m1", 1.03) == [], "it does not start any more"
    assert scheduler.cancelled("b", False, 1.04) == [GiveBack(held)]


def test_drain_gives_back_what_was_not_started_and_what_still_arrives() -> None:
    simulation = pushing([A, B, C], slots=1, work=lambda _request: 10.0)
    requests = [simulation.publish(queue) for queue in "abc"]
    simulation.run(until=1.0005)
    simulation.drain()
    simulation.run(until=30.0)
    assert [request.given_back for request in requests].count(1) == 3 - len(simulation.started)
    assert simulation.scheduler.held == 0
    assert simulation.scheduler.wake_at() is None
    assert not simulation.scheduler.open("abc", simulation.now)


def test_after_a_reset_only_what_can_still_be_settled_is_held() -> None:
    scheduler = Scheduler([A], 1)
    scheduler.open("a", 0.0)
    scheduler.got("a", 1, 0.1)
    for item in (2, 3):
        scheduler.delivered("a", item, 0.2)
    assert (scheduler.running, scheduler.held) == (1, 2)
    scheduler.reset(lambda item: item == 3, 0.3)
    assert (scheduler.running, scheduler.held, scheduler.mode) == (1, 1, Mode.PULL)
    assert scheduler.finished("m1", 0.4) == [Start("m1", (3,))]


def test_blocked_worker_starts_no_request() -> None:
    simulation = pushing([A, B], slots=2)
    simulation.perform(simulation.scheduler.block(True, simulation.now))
    request = simulation.publish("a")
    simulation.run(until=2.0)
    assert request.started < 0
    assert simulation.scheduler.mode is Mode.PULL, "other nodes may be able to"
    simulation.perform(simulation.scheduler.block(False, simulation.now))
    simulation.run(until=3.0)
    assert request.started == pytest.approx(2.0)


def test_a_lane_that_the_broker_has_cancelled_is_consumed_again_when_it_is_opened_again() -> None:
    simulation = pushing([A, B], slots=1)
    scheduler = simulation.scheduler
    assert scheduler.lost("a", 1.0) == [Cancel("a")]
    scheduler.open("b", 1.0)
    assert scheduler.open("ab", 1.1) == [Consume("a", 1)]


def test_a_lane_that_loses_one_of_its_consumers_loses_the_other_one_too() -> None:
    simulation = pushing([A, B], slots=4, work=lambda _request: 0.04)
    simulation.publish("a")
    simulation.run(until=1.5)
    assert consuming(simulation) == [Consume("a", 7, hot=True)]
    scheduler = simulation.scheduler
    assert scheduler.lost("a", 1.5) == [Cancel("a", hot=True), Cancel("a")]
    assert scheduler.lost("a", 1.5) == [], "the second one had gone, too"
    scheduler.open("b", 1.5)
    for hot in (True, False):
        scheduler.cancelled("a", hot, 1.51)
    assert scheduler.open("ab", 2.5) == [Consume("a", 1)]


# A request that has given its slot up.


def test_scheduler_with_a_request_that_waits_to_be_alone_starts_it_when_its_model_is_idle() -> None:
    simulation = pushing([A, B], slots=4, work=lambda _request: 0.5)
    first = simulation.publish("a")
    first.again = (0.0, True)
    simulation.run(until=1.2)
    simulation.publish("a")
    simulation.run(until=1.6)  # the first has given its slot up, and waits for the second to end
    other, third = simulation.publish("b"), simulation.publish("a")
    simulation.run(until=4.0)
    assert first.started == pytest.approx(1.7, abs=0.01)
    assert other.started == pytest.approx(1.6, abs=0.01), "another model is not held up"
    assert third.started == pytest.approx(2.2, abs=0.01)


def test_scheduler_with_a_model_that_is_never_idle_starts_the_request_in_company() -> None:
    scheduler = Scheduler([A], 2)
    scheduler.open("a", 0.0)
    scheduler.got("a", "long", 0.1)
    assert scheduler.again("a", "suspect", 0.2, alone=True) == []
    assert scheduler.wake_at() == 0.2 + ALONE
    assert scheduler.tick(0.2 + ALONE) == [Start("m1", ("suspect",))]


def test_scheduler_with_a_request_that_is_alone_for_long_starts_others_beside_it() -> None:
    scheduler = Scheduler([A], 2)
    scheduler.open("a", 0.0)
    assert scheduler.again("a", "suspect", 0.2, alone=True) == [Start("m1", ("suspect",))]
    assert scheduler.got("a", "other", 0.3) == []
    assert scheduler.wake_at() == 0.2 + ALONE
    assert Start("m1", ("other",)) in scheduler.tick(0.2 + ALONE)


def test_scheduler_without_the_lane_gives_a_request_back_that_wants_a_slot_again() -> None:
    scheduler = Scheduler([A], 1)
    assert scheduler.again("b", "item", 0.0) == [GiveBack("item")]
    scheduler.drain(1.0)
    assert scheduler.again("a", "item", 1.0, alone=True) == [GiveBack("item")]


# Whatever happens.

QUEUES = "abcdef"
LANES = st.lists(
    st.tuples(
        st.sampled_from(["m1", "m2", "m3"]),
        st.integers(-2, 2),
        st.sampled_from([None, 60.0]),
        st.sampled_from([1, 1, 4]),  # batch
    ),
    min_size=1,
    max_size=6,
)
LIMITS = st.dictionaries(st.sampled_from(["m1", "m2", "m3"]), st.integers(1, 2), max_size=2)
STEPS = st.lists(
    st.tuples(
        st.floats(0, 3),  # how long after the last step
        st.sampled_from(
            ["publish"] * 8 + ["pause", "resume", "block", "unblock", "withdraw", "return", "end", "reload"]
        ),
        st.integers(0, 5),  # which lane
        st.integers(1, 12),  # how many
    ),
    max_size=25,
)


def rules_of(lanes: Any, limits: Any) -> list[LaneRule]:
    return [
        LaneRule(QUEUES[index], *lane, limit=limits.get(lane[0]))  # one limit for all lanes of a model
        for index, lane in enumerate(lanes)
    ]


@example([("m1", 0, None, 1)], {}, 1, [(1.0, "publish", 0, 11)], 0.00390625, 0.0001, [(0.3, False)])
@settings(max_examples=rounds(100, 1000), deadline=None)
@given(
    LANES,
    LIMITS,
    st.integers(1, 4),
    STEPS,
    st.floats(0.001, 1.5),
    st.sampled_from([0.0001, 0.001, 0.02]),
    st.lists(st.sampled_from([None, None, None, (0.0, True), (0.3, False)]), min_size=1, max_size=8),
)
@example(  # a request waits to be alone for longer than it may, because the broker blocks the worker
    lanes=[("m1", 0, None, 1)],
    limits={},
    slots=2,
    steps=[(0.0, "publish", 0, 4), (1.0, "publish", 0, 3), (1.0, "block", 0, 1), (16.0, "publish", 0, 9)],
    work=0.5,
    latency=0.0001,
    again=[None, None, None, None, None, (0.0, True)],
)
def test_any_sequence_of_events_keeps_the_invariants(
    lanes: Any, limits: Any, slots: int, steps: Any, work: float, latency: float, again: Any
) -> None:
    rules = rules_of(lanes, limits)
    simulation = Simulation(rules, slots, latency=latency, work=lambda _request: work, starvation=5.0)
    opened = {rule.queue for rule in rules}
    assigned = set(opened)
    simulation.open()
    published: list[Request] = []
    moment = 0.0
    unkind = withdrawn = False
    for wait, what, index, number in steps:
        moment += wait
        simulation.run(until=moment)
        queue = rules[index % len(rules)].queue
        if what == "publish":
            for _one in range(number):
                request = simulation.publish(queue)
                request.again = again[len(published) % len(again)]
                published.append(request)
        elif what in ("block", "unblock"):
            unkind = unkind or what == "block"
            simulation.perform(simulation.scheduler.block(what == "block", moment))
        elif what == "end":
            unkind = True
            simulation.end_consumer(queue)
        elif what == "reload":
            unkind = True
            simulation.rules[queue] = replace(simulation.rules[queue], consumer_priority=number)
            simulation.assign(assigned)
        elif what in ("withdraw", "return"):
            withdrawn = withdrawn or what == "withdraw"
            assigned = assigned - {queue} if what == "withdraw" else assigned | {queue}
            simulation.assign(assigned)
            simulation.scheduler.declared(assigned, moment)
            simulation.open(opened & assigned)
        else:
            unkind = unkind or what == "pause"
            opened = opened - {queue} if what == "pause" else opened | {queue}
            simulation.open(opened & assigned)
    simulation.perform(simulation.scheduler.block(False, moment))
    simulation.assign(QUEUES)
    simulation.scheduler.declared(simulation.queues, moment)
    simulation.open()
    # Everything is done, about as fast as the slots allow: changing over takes a little, and so does asking.
    at_once = 1 if (0.0, True) in again else min([slots, *limits.values()])
    runs = len(published) * (1 if again == [None] * len(again) else 2)
    needed = runs * (work / at_once + 10 * latency) + work + 4 * DWELL + len(rules) * 8 * latency + 1
    # A request that pauses before its second run is unsettled meanwhile, and counts against the consumer's prefetch.
    needed += sum(request.again[0] for request in published if request.again is not None)
    simulation.run(until=moment + needed)
    lost = len(published) - len(simulation.finished)
    assert lost == 0 or (withdrawn and simulation.expired)
    if not withdrawn:
        assert all(request.given_back == 0 for request in published), "nothing is given back for the sake of another"
        assert simulation.expired == []
        if not unkind and all(rule.expires is None for rule in rules) and not any(again):
            assert simulation.max_held <= len(rules) + 2 * slots * max(rule.batch for rule in rules) + slots - 2


@settings(max_examples=rounds(30, 400), deadline=None)
@given(LANES, st.integers(1, 4), st.floats(0.05, 1.0))
def test_an_overloaded_worker_starves_no_lane(lanes: Any, slots: int, work: float) -> None:
    rules = rules_of(lanes, {})
    simulation = Simulation(rules, slots, work=lambda _request: work, starvation=3.0)
    simulation.open()
    for rule in rules:
        for _number in range(int(60 / work) * slots * rule.batch):
            simulation.publish(rule.queue)
    simulation.run(until=30.0)
    for rule in rules:
        starts = [0.0, *(request.started for request in simulation.started if request.queue == rule.queue), 30.0]
        longest = max(later - earlier for earlier, later in zip(starts, starts[1:]))
        assert longest <= 3.0 + (len(rules) + 1) * work + 0.2


@settings(max_examples=rounds(15, 200), deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_no_lane_that_expires_is_lost_while_every_node_is_busy(slots: int, batch: int, lanes: int) -> None:
    """For many times as long as its queue lives without anybody asking."""
    rules = [LaneRule(QUEUES[number], f"m{number}", expires=60.0, batch=batch) for number in range(lanes)]
    simulation = Simulation(rules, slots, work=lambda _request: 400.0)
    simulation.open()
    requests: list[Request] = []
    for rule in rules:
        requests += [simulation.publish(rule.queue) for _number in range(slots + 3)]
    simulation.run(until=400.0 * len(requests) + 10.0)
    assert simulation.expired == []
    assert len(simulation.finished) == len(requests)
    assert all(request.given_back == 0 for request in requests)
