# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a lane's rule that a running consumer keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fleet_worker.domain.lane_rule import LaneRule

RULE = LaneRule("a", "m1")


@pytest.mark.parametrize(
    "change, differs",
    [
        ({"consumer_priority": 7}, True),
        ({"consumer_priority": 0}, True),
        ({"limit": 1}, True),
        ({"batch": 2}, True),
        ({"priority": 7}, False),
        ({"expires": 60.0}, False),
        ({"model": "m2"}, False),
    ],
)
def test_part_of_consumers_differs_only_with_what_the_broker_keeps(change: dict[str, Any], differs: bool) -> None:
    assert (replace(RULE, **change).of_consumers != RULE.of_consumers) == differs
