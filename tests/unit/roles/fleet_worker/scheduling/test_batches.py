# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches: how long the requests of a lane wait for others, and how many gets bring the rest."""

from __future__ import annotations

import pytest
from fleet_worker.domain.lane_rule import LaneRule
from fleet_worker.scheduling.actions import Get
from fleet_worker.scheduling.batches import GATHER, Batches
from fleet_worker.scheduling.held_requests import HeldRequest, HeldRequests
from fleet_worker.scheduling.lanes import LaneEntry, LaneTable
from fleet_worker.scheduling.slots import Slots


class Lane:
    """A lane with batches of three, its held requests, and the slots of its model."""

    def __init__(self, batch: int = 3, limit: int = 2) -> None:
        table = LaneTable([LaneRule("a", "m1", batch=batch, limit=limit)])
        self.entry: LaneEntry = table["a"]
        self.held = HeldRequests()
        self.slots = Slots(4)
        self.batches = Batches(table, self.held, self.slots)

    def hold(self, number: int = 1, since: float = 10.0) -> None:
        for _request in range(number):
            self.held.add(HeldRequest(self.entry, "item", since))

    def run(self) -> None:
        self.slots.start(HeldRequest(self.entry, "item", 0.0), 0.0)


def test_requests_gather_from_the_oldest_on_while_their_model_is_busy() -> None:
    lane = Lane()
    lane.run()
    lane.hold(since=10.0)
    lane.hold(since=10.03)
    assert lane.batches.ends() == [10.0 + GATHER]
    assert lane.batches.gathering(10.0 + GATHER - 0.001) == [lane.entry]
    assert lane.batches.gathering(10.0 + GATHER) == []


@pytest.mark.parametrize("running, held", [(0, 1), (1, 0), (1, 3), (2, 1)])
def test_requests_do_not_gather_with_an_idle_or_full_model_or_a_full_batch(running: int, held: int) -> None:
    lane = Lane()
    for _request in range(running):
        lane.run()
    lane.hold(held)
    assert lane.batches.gathering(10.0) == [] and lane.batches.ends() == []


def test_end_of_the_wait_is_open_while_the_broker_still_sends_the_batch() -> None:
    lane = Lane()
    lane.run()
    lane.hold()
    lane.entry.getting = 1
    assert lane.batches.ends() == []


@pytest.mark.parametrize(
    "batch, getting, held, filling", [(3, 1, 2, True), (3, 0, 2, False), (3, 1, 3, False), (1, 1, 0, False)]
)
def test_batch_is_filling_with_a_get_and_room(batch: int, getting: int, held: int, filling: bool) -> None:
    lane = Lane(batch)
    lane.hold(held)
    lane.entry.getting = getting
    assert lane.batches.filling(lane.entry) == filling


@pytest.mark.parametrize("held, more, gets", [(1, 9, 2), (1, 1, 1), (3, 9, 0), (4, 9, 0), (1, 0, 0)])
def test_fill_gets_what_the_queue_has_up_to_the_batch(held: int, more: int, gets: int) -> None:
    lane = Lane()
    lane.hold(held)
    assert lane.batches.fill(lane.entry, more) == [Get("a")] * gets
    assert lane.entry.getting == gets
