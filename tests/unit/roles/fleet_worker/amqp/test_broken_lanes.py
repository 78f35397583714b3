# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lane for which the broker ends connections rests for longer each time, until the broker answers for it."""

from __future__ import annotations

from fleet_worker.amqp.broken_lanes import PAUSES, BrokenLanes

TEXT = "541 INTERNAL_ERROR - Cannot get a message from queue 'lane' in vhost '/': noproc"


class Watched:
    """Broken lanes, and a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 50.0
        self.lanes = BrokenLanes(lambda: self.now)

    def seconds(self) -> float:
        rest = self.lanes.rest("lane")
        return 0.0 if rest is None else rest.seconds


def test_lane_rests_for_a_growing_time_with_the_text_of_the_broker() -> None:
    watched = Watched()
    assert watched.lanes.rest("lane") is None
    for number in range(30):
        watched.lanes.note({"lane"}, TEXT)
        full = min(PAUSES.cap, PAUSES.base * 2**number)
        pause = watched.seconds()
        assert full / 2 <= pause <= full
        rest = watched.lanes.rest("lane")
        assert rest is not None and rest.reason == TEXT
        watched.now += pause
        assert watched.lanes.rest("lane") is None, "the pause is over"
    assert watched.lanes.rest("other") is None


def test_lane_that_is_answered_for_begins_with_the_shortest_pause() -> None:
    watched = Watched()
    for _end in range(5):
        watched.lanes.note({"lane"}, TEXT)
    watched.lanes.mended("lane")
    assert watched.lanes.rest("lane") is None
    watched.lanes.note({"lane"}, TEXT)
    assert watched.seconds() <= PAUSES.base
