# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events go to the scheduler with their time, and its actions to the parts that carry them out."""

from __future__ import annotations

from typing import Any

import pytest
from fleet_worker.domain.lane_rule import LaneRule
from fleet_worker.scheduling.actions import Cancel, Consume, Get, GiveBack, Start
from fleet_worker.worker.dispatcher import Dispatcher

from ..deliveries import delivery, lane_settings
from ..manual_loop import ManualLoop

LANE, OTHER = lane_settings(), lane_settings("embed")


class Script:
    """A scheduler that says what a test wants, and a set of consumers that tells what it was asked for."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.actions: list[Any] = []
        self.wakes: float | None = None
        self.broken = False
        self.events: list[tuple[Any, ...]] = []
        self.done: list[tuple[Any, ...]] = []
        self.dispatcher = Dispatcher(self.loop, self, self, [LANE])  # type: ignore[arg-type]
        self.dispatcher.connect(
            lambda action: self.done.append(("start", action)),
            lambda item: self.done.append(("give back", item)),
            freed=lambda: self.done.append(("freed",)),
        )

    def wake_at(self) -> float | None:
        return self.wakes

    def __getattr__(self, event: str) -> Any:
        def happens(*arguments: Any, **_options: Any) -> list[Any]:
            self.events.append((event, *arguments[:-1]))
            actions, self.actions = self.actions, []
            return actions

        return happens

    def update(self, lanes: Any) -> None:
        self.done.append(("update", list(lanes.values())))

    def get(self, lane: Any, *, keeps_alive: bool) -> None:
        self.done.append(("get", lane, keeps_alive))

    def consume(self, lane: Any, prefetch: int, *, hot: bool) -> None:
        if self.broken:
            raise RuntimeError("the channel is closing")
        self.done.append(("consume", lane, prefetch, hot))

    def cancel(self, queue: str, *, hot: bool) -> None:
        self.done.append(("cancel", queue, hot))


@pytest.fixture
def script() -> Script:
    return Script()


def test_dispatcher_carries_out_each_action_in_its_order(script: Script) -> None:
    start = Start("m", ("item",))
    script.actions = [
        Get(LANE.queue),
        Get(LANE.queue, keeps_alive=True),
        Consume(LANE.queue, 3, hot=True),
        start,
        Cancel(LANE.queue),
        GiveBack("held"),
    ]
    one = delivery(lane=LANE)
    script.dispatcher.delivered(one)
    assert script.events == [("delivered", LANE.queue, one)]
    assert script.done == [
        ("get", LANE, False),
        ("get", LANE, True),
        ("consume", LANE, 3, True),
        ("start", start),
        ("cancel", LANE.queue, False),
        ("give back", "held"),
    ]


def test_dispatcher_whose_action_fails_carries_out_the_others_and_sets_the_alarm(script: Script) -> None:
    script.broken, script.wakes = True, 0.0
    script.actions = [Consume(LANE.queue, 3, hot=True), Get("unknown"), Start("m", ("item",))]
    script.dispatcher.delivered(delivery(lane=LANE))
    assert script.done == [("start", Start("m", ("item",)))] and len(script.loop.later) == 1


def test_dispatcher_counts_each_delivery_as_settled_once(script: Script) -> None:
    one = delivery(lane=LANE)
    script.dispatcher.taken(one)
    script.dispatcher.settled(one.without_body())
    script.dispatcher.settled(one)
    assert [event[0] for event in script.events] == ["taken", "settled"]


@pytest.mark.parametrize("end", ["consumers_lost", "connection_lost"])
def test_dispatcher_does_not_count_a_delivery_of_lost_channels_as_settled(script: Script, end: str) -> None:
    """The scheduler has forgotten them, and counts others since."""
    one = delivery(lane=LANE)
    script.dispatcher.taken(one)
    getattr(script.dispatcher, end)()
    script.dispatcher.settled(one)
    assert [event[0] for event in script.events] == ["taken", "reset"]


def test_dispatcher_with_other_lanes_asks_those(script: Script) -> None:
    script.actions = [Get(OTHER.queue)]
    script.dispatcher.assign([OTHER])
    ((event, rules),) = script.events
    assert event == "assign" and [rule for rule in rules if isinstance(rule, LaneRule)] == [OTHER.rule]
    told = [("update", [OTHER]), ("get", OTHER, False)]
    assert script.done == told, "the consumers know the settings before any command"


def test_dispatcher_whose_slot_becomes_free_says_so_after_the_scheduler_has_used_it(script: Script) -> None:
    script.actions = [Start("m", ())]
    script.dispatcher.finished("m")
    assert script.done == [("start", Start("m", ())), ("freed",)]


def test_dispatcher_wakes_the_scheduler_when_it_wants_to_be_woken(script: Script) -> None:
    script.wakes = 0.0
    script.dispatcher.open([LANE.queue])
    script.wakes, script.actions = None, [GiveBack("late")]
    script.loop.turn(1.0)
    assert [event for event, *_rest in script.events] == ["open", "tick"]
    assert script.done == [("give back", "late")] and script.loop.later == []
