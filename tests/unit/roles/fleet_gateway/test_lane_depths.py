# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many requests wait at the broker is asked for seldom, and beside everything else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Callable

from fleet_gateway._fleet.errors import FleetError
from fleet_gateway.amqp.lane_depths import FRESH, MOST, LaneDepths

from .memory_front import run


class MemoryConnection:
    """A broker with some queues, which closes a channel that asks for another one."""

    def __init__(self, **depths: int) -> None:
        self.depths = depths
        self.channels: list[Any] = []
        self.asked: list[str] = []

    async def channel(self) -> Any:
        channel = SimpleNamespace(is_open=True, queue_declare=lambda queue, **_options: self.asked.append(queue))
        channel.close = lambda: setattr(channel, "is_open", False)
        self.channels.append(channel)
        return channel

    async def do(self, channel: Any, begin: Callable[[Any], Any]) -> Any:
        assert channel.is_open
        begin(None)
        if self.asked[-1] not in self.depths:
            channel.is_open = False
            raise FleetError("no such queue")
        return SimpleNamespace(method=SimpleNamespace(message_count=self.depths[self.asked[-1]]))


class Asked:
    def __init__(self, connection: MemoryConnection) -> None:
        self.now = 100.0
        self.connection = connection
        self.depths = LaneDepths(lambda: self.now)
        self.depths.use(connection)  # type: ignore[arg-type]

    async def latest(self, *queues: str) -> dict[str, int]:
        self.depths.latest(queues)
        for _turn in range(1000):
            await asyncio.sleep(0)
        return dict(self.depths.latest(queues))


def test_depths_are_asked_for_once_in_a_while() -> None:
    async def test() -> None:
        asked = Asked(MemoryConnection(a=3, b=0))
        assert asked.depths.latest(["a", "b"]) == {}
        assert await asked.latest("a", "b") == {"a": 3, "b": 0}
        asked.connection.depths["a"] = 9
        asked.now += FRESH
        assert await asked.latest("a", "b") == {"a": 3, "b": 0}
        asked.now += 0.1
        assert await asked.latest("a", "b") == {"a": 9, "b": 0}
        assert asked.connection.asked == ["a", "b", "a", "b"]
        # A channel collects what waits for its end, so none is kept.
        assert [channel.is_open for channel in asked.connection.channels] == [False, False]

    run(test())


def test_depth_of_a_queue_that_is_gone_is_missing() -> None:
    async def test() -> None:
        asked = Asked(MemoryConnection(a=3, c=1))
        assert await asked.latest("a", "b", "c") == {"a": 3, "c": 1}
        assert len(asked.connection.channels) == 2

    run(test())


def test_depths_of_a_lost_connection_are_forgotten() -> None:
    async def test() -> None:
        asked = Asked(MemoryConnection(a=3))
        assert await asked.latest("a") == {"a": 3}
        asked.depths.drop()
        assert await asked.latest("a") == {}
        asked.depths.use(MemoryConnection(a=5))  # type: ignore[arg-type]
        assert await asked.latest("a") == {"a": 5}

    run(test())


def test_depths_are_asked_for_a_bounded_number_of_queues() -> None:
    async def test() -> None:
        asked = Asked(MemoryConnection(**{f"q{number}": 1 for number in range(MOST + 50)}))
        assert len(await asked.latest(*asked.connection.depths)) == MOST

    run(test())
