# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The held requests: their order, their batches, and their waits to run alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleet_worker.domain.lane_rule import LaneRule
from fleet_worker.scheduling.held_requests import HeldRequest, HeldRequests
from fleet_worker.scheduling.lanes import LaneEntry

LANE, OTHER = LaneEntry(LaneRule("a", "m1")), LaneEntry(LaneRule("b", "m2"))
FIRST, SECOND, THIRD = (HeldRequest(LANE, name, 0.0) for name in ("first", "second", "third"))


def holding(*requests: HeldRequest) -> HeldRequests:
    held = HeldRequests()
    for request in requests:
        held.add(request)
    return held


def test_batch_has_the_requests_of_its_lane_that_share_the_oldest_first() -> None:
    held = holding(FIRST, replace(SECOND, lane=OTHER), replace(SECOND, shares=False), THIRD)
    assert held.batch_of(LANE) == [FIRST, THIRD] and len(held) == 4


def test_remove_keeps_the_others_in_order() -> None:
    held = holding(FIRST, SECOND, THIRD)
    held.remove([SECOND])
    assert list(held) == [FIRST, THIRD]
    with pytest.raises(ValueError, match="not in list"):
        held.remove([SECOND])


def test_keep_returns_the_unwanted_requests_and_holds_the_others() -> None:
    held = holding(FIRST, SECOND, THIRD)
    assert held.keep(lambda request: request is SECOND) == [FIRST, THIRD]
    assert list(held) == [SECOND]
    assert held.keep(lambda _request: True) == [] and list(held) == [SECOND]


def test_waits_to_run_alone_end_at_their_time_and_the_requests_stay() -> None:
    held = holding(replace(FIRST, alone_until=5.0), replace(SECOND, lane=OTHER, alone_until=6.0), THIRD)
    held.end_waits_to_be_alone(4.9)
    assert held.models_to_be_alone() == {"m1", "m2"}
    held.end_waits_to_be_alone(5.0)
    assert held.models_to_be_alone() == {"m2"}
    assert [request.item for request in held] == ["first", "second", "third"]
