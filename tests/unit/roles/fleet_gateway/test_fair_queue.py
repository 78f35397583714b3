# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who goes next in front of a lane: fair by key, bounded, and nothing is lost by whoever gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from fleet_gateway.domain.fair_queue import FairQueue, QueueFullError
from hypothesis import given, settings
from hypothesis import strategies as st


class Lane:
    """A fair queue whose requests end when a test says so."""

    def __init__(self, room: int = 1, most: int = 10_000) -> None:
        self.room = room
        self.queue = FairQueue(lambda: self.room, most)
        self.started: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def _go(self, key: str, weight: float) -> None:
        await self.queue.enter(key, weight)
        self.started.append(key)

    def ask(self, key: str, number: int = 1, weight: float = 1.0) -> list[asyncio.Task[None]]:
        tasks = [asyncio.ensure_future(self._go(key, weight)) for _one in range(number)]
        self.tasks += tasks
        return tasks

    async def settle(self) -> None:
        for _turn in range(5):
            await asyncio.sleep(0)

    async def end(self, number: int = 1) -> None:
        for _one in range(number):
            self.queue.leave()
            await self.settle()


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_enter_with_room_goes_at_once() -> None:
    async def test() -> None:
        lane = Lane(room=2)
        lane.ask("a", 3)
        await lane.settle()
        assert (lane.started, lane.queue.out, lane.queue.waiting) == (["a", "a"], 2, 1)
        await lane.end()
        assert (lane.started, lane.queue.out, lane.queue.waiting) == (["a"] * 3, 2, 0)

    run(test())


def test_key_with_500_requests_does_not_delay_another_key() -> None:
    async def test() -> None:
        lane = Lane(room=2)  # one slot, and one request at hand
        lane.ask("crowd", 500)
        await lane.settle()
        await lane.end(20)
        before = len(lane.started)
        lane.ask("single")
        await lane.settle()
        await lane.end(2)
        assert "single" in lane.started[before : before + 2]

    run(test())


def test_weights_share_the_room() -> None:
    async def test() -> None:
        lane = Lane(room=1)
        lane.ask("first")
        await lane.settle()
        lane.ask("heavy", 100, weight=3.0)
        lane.ask("light", 100, weight=1.0)
        await lane.settle()
        await lane.end(40)
        served = lane.started[1:]
        assert 28 <= served.count("heavy") <= 32

    run(test())


def test_key_that_was_away_has_saved_nothing_up() -> None:
    async def test() -> None:
        lane = Lane(room=1)
        lane.ask("busy", 50)
        await lane.settle()
        await lane.end(20)
        lane.ask("late", 50)
        await lane.settle()
        begin = len(lane.started)
        await lane.end(20)
        assert 9 <= lane.started[begin:].count("late") <= 11

    run(test())


def test_enter_beyond_the_bound_is_refused() -> None:
    async def test() -> None:
        lane = Lane(room=1, most=3)
        tasks = lane.ask("a", 5)
        await lane.settle()
        with pytest.raises(QueueFullError) as full:
            tasks[4].result()
        assert full.value.waiting == 3

    run(test())


def test_request_that_gives_up_leaves_no_trace() -> None:
    async def test() -> None:
        lane = Lane(room=1)
        tasks = lane.ask("a", 3)
        await lane.settle()
        tasks[1].cancel()
        await lane.settle()
        assert lane.queue.waiting == 1
        await lane.end(2)
        assert (len(lane.started), lane.queue.out, lane.queue.waiting) == (2, 0, 0)

    run(test())


def test_request_that_gives_up_in_the_moment_of_its_turn_gives_its_room_back() -> None:
    async def test() -> None:
        lane = Lane(room=1)
        tasks = lane.ask("a", 2)
        await lane.settle()
        lane.queue.leave()  # lets the second one out
        tasks[1].cancel()
        await lane.settle()
        assert (lane.queue.out, lane.queue.waiting) == (0, 0)

    run(test())


def test_request_that_gives_up_in_the_same_turn_as_room_comes_is_passed_over() -> None:
    async def test() -> None:
        lane = Lane(room=1)
        tasks = lane.ask("a", 3)
        await lane.settle()
        tasks[1].cancel()
        lane.queue.leave()  # before the task that was cancelled has run
        await lane.settle()
        assert (len(lane.started), lane.queue.out, lane.queue.waiting) == (2, 1, 0)

    run(test())


def test_look_after_a_node_came_lets_more_out() -> None:
    async def test() -> None:
        lane = Lane(room=1)
        lane.ask("a", 4)
        await lane.settle()
        lane.room = 3
        lane.queue.look()
        await lane.settle()
        assert len(lane.started) == 3

    run(test())


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from("askendcancel"), st.sampled_from("abc"), st.integers(0, 20)), max_size=60),
    room=st.integers(1, 4),
)
def test_counts_stay_right_whatever_happens(steps: list[tuple[str, str, int]], room: int) -> None:
    async def test() -> None:
        lane = Lane(room)
        for kind, key, number in steps:
            if kind in "ask":
                lane.ask(key)
            elif kind in "end" and lane.queue.out:
                await lane.end()
            elif lane.tasks:
                lane.tasks[number % len(lane.tasks)].cancel()
            await lane.settle()
            running = sum(1 for task in lane.tasks if task.done() and not task.cancelled())
            assert 0 <= lane.queue.out <= room
            assert lane.queue.out <= running
            assert lane.queue.waiting == sum(1 for task in lane.tasks if not task.done())
            assert lane.queue.out == room or not lane.queue.waiting
        for task in lane.tasks:
            task.cancel()
        await lane.settle()

    run(test())
