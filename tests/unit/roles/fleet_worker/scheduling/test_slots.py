# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The slots: the limit of each model, and requests that run alone."""

from __future__ import annotations

from fleet_worker.domain.lane_rule import ALONE, LaneRule
from fleet_worker.scheduling.held_requests import HeldRequest, HeldRequests
from fleet_worker.scheduling.lanes import LaneEntry
from fleet_worker.scheduling.slots import Slots

LANE, LIMITED = LaneEntry(LaneRule("a", "m1")), LaneEntry(LaneRule("b", "m2", limit=2))


def request(lane: LaneEntry = LANE, alone_until: float = 0.0) -> HeldRequest:
    return HeldRequest(lane, "item", 0.0, alone_until)


def test_slots_count_the_requests_of_each_model() -> None:
    slots = Slots(3)
    for lane in (LANE, LIMITED, LANE):
        slots.start(request(lane), 0.0)
    assert (slots.taken, slots.free, slots.running("m1"), slots.running("m2")) == (3, 0, 2, 1)
    assert slots.last_model == "m1"
    slots.finish("m1")
    assert (slots.taken, slots.free, slots.running("m1")) == (2, 1, 1)


def test_slots_of_a_blocked_worker_are_not_free() -> None:
    slots = Slots(3)
    slots.blocked = True
    assert slots.free == 0
    slots.blocked = False
    assert slots.free == 3


def test_model_is_full_at_its_limit_and_never_without_one() -> None:
    slots = Slots(9)
    for running in range(3):
        assert slots.full(LIMITED) == (running >= 2)
        assert slots.may_start(request(LIMITED)) == (running < 2)
        assert not slots.full(LANE)
        slots.start(request(LIMITED), 0.0)
        slots.start(request(), 0.0)


def test_request_that_runs_alone_keeps_its_model_full_until_it_ends() -> None:
    slots = Slots(3)
    slots.start(request(alone_until=5.0), 0.0)
    assert slots.full(LANE) and not slots.full(LIMITED) and slots.anybody_alone
    slots.finish("m1")
    assert not slots.full(LANE) and not slots.anybody_alone


def test_request_that_runs_alone_keeps_its_model_full_until_its_time_is_over() -> None:
    slots, held = Slots(3), HeldRequests()
    slots.start(request(alone_until=5.0), 1.0)
    assert slots.alone_ends(held) == [1.0 + ALONE]
    slots.note_alone(held, 0.9 + ALONE)
    assert slots.full(LANE)
    slots.note_alone(held, 1.0 + ALONE)
    assert not slots.full(LANE)


def test_request_that_waits_to_run_alone_starts_when_its_model_is_idle() -> None:
    slots, held = Slots(3), HeldRequests()
    alone = request(alone_until=5.0)
    slots.start(request(), 0.0)
    held.add(alone)
    slots.note_waits(held)
    assert not slots.may_start(alone) and not slots.may_start(request()), "the others of the model let it go first"
    assert slots.may_start(request(LIMITED)) and slots.alone_ends(held) == [5.0]
    slots.finish("m1")
    assert slots.may_start(alone) and not slots.may_start(request())


def test_request_that_has_waited_long_enough_to_run_alone_shares_its_model() -> None:
    slots, held = Slots(3), HeldRequests()
    held.add(request(alone_until=5.0))
    slots.note_alone(held, 4.9)
    assert slots.full(LANE) and slots.anybody_alone
    slots.note_alone(held, 5.0)
    assert not slots.full(LANE) and slots.alone_ends(held) == []
