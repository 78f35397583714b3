# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that gave their slot up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from fleet_worker.inference.tries import Later
from fleet_worker.runtime.event_loop import EventLoop
from fleet_worker.worker.waiting_room import WaitingRoom

from ..turning import turn_until


class Room:
    def __init__(self, loop: EventLoop) -> None:
        self.loop = loop
        self.over: list[str] = []
        self.changes = 0
        self.room = WaitingRoom(loop, self.over.append, self._changed)

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def room() -> Iterator[Room]:
    with contextlib.closing(EventLoop()) as loop:
        yield Room(loop)


def test_waiting_room_after_the_pause_calls_back_and_keeps_the_model_closed(room: Room) -> None:
    room.room.admit("job", "m:1", Later(0.0, "full\n"))
    assert room.room.pausing() == ["job"]
    turn_until(room.loop, lambda: room.over)
    assert room.over == ["job"]
    assert room.room.pausing() == []
    assert room.room.reason("m:1") == "Ollama is busy: full\\n"
    assert room.room.reason("other:1") == ""
    room.room.leave("job")
    assert room.room.reason("m:1") == ""
    assert room.changes == 2


def test_waiting_room_left_before_the_pause_is_over_calls_nobody(room: Room) -> None:
    room.room.admit("one", "m:1", Later(0.0, "full"))
    room.room.admit("two", "m:1", Later(0.0, "full"))
    room.room.leave("one")
    room.room.leave("never here")
    turn_until(room.loop, lambda: room.over)
    assert room.over == ["two"]
    assert room.changes == 1, "the model is closed as before"
