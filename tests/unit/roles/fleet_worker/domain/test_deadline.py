# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deadline of a request: the limit of the lane, or an earlier deadline of the requester."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fleet_worker._fleet.dialects.headers import DEADLINE
from fleet_worker._fleet.messages import Message, Properties
from fleet_worker.domain.deadline import LONGEST_WAIT, Arrival, seconds_in_queue, seconds_left

NOW = 1_700_000_000.0


def message(headers: Any = None, **properties: Any) -> Message:
    return Message(Properties(**properties), headers or {}, b"")


def arrival(seconds_ago: float = 0.0) -> Arrival:
    return Arrival(NOW, time.monotonic() - seconds_ago)


def test_seconds_left_without_a_requesters_deadline_is_the_rest_of_the_lanes_limit() -> None:
    assert seconds_left(message(), arrival(10.0), 60.0) == pytest.approx(50.0, abs=1.0)


def test_seconds_left_with_an_earlier_deadline_of_the_requester_counts_to_it() -> None:
    stated = message({DEADLINE: (NOW + 5.0) * 1000})
    assert seconds_left(stated, arrival(), 60.0) == pytest.approx(5.0, abs=1.0)


def test_seconds_left_after_the_deadline_is_negative() -> None:
    assert seconds_left(message(), arrival(61.0), 60.0) < 0


def test_seconds_in_queue_of_an_implausible_timestamp_is_unknown() -> None:
    assert seconds_in_queue(message(timestamp=NOW - LONGEST_WAIT - 1.0), arrival()) is None
    assert seconds_in_queue(message(timestamp=NOW - 3.0), arrival()) == 3.0
