# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker announces of its lanes when they change."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Optional

import pytest
from fleet_worker._fleet.broker import BrokerSettings
from fleet_worker._fleet.registry import AVAILABLE, DEGRADED, HEARTBEAT, UNAVAILABLE, Trouble
from fleet_worker.amqp.registry_publisher import RegistryPublisher, RegistrySettings
from fleet_worker.domain.delivery import LaneSettings

from ..deliveries import lane_settings
from ..manual_loop import ManualLoop

LANE = lane_settings()
OTHER = lane_settings(model="n:1")
BROKEN = Trouble("model_broken", "no memory")


class Channel:
    """A channel that confirms nothing, and keeps the bodies of the events."""

    is_open = True

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def add_on_close_callback(self, _callback: Any) -> None:
        """The test never closes it."""

    def confirm_delivery(self, _confirmed: Any, callback: Any) -> None:
        callback(None)

    def basic_publish(self, _exchange: str, _key: str, body: bytes, _properties: Any) -> None:
        self.bodies.append(json.loads(body))


class Board:
    """A publisher over a channel that is open."""

    def __init__(self, instance: Optional[str] = None) -> None:
        self.loop, self.channel = ManualLoop(), Channel()
        link = SimpleNamespace(channel=self.open)
        settings = RegistrySettings("gpu-01", 1, 30.0, instance)
        self.publisher = RegistryPublisher(self.loop, link, BrokerSettings(addresses=()), settings)  # type: ignore[arg-type]
        self.publisher.open(lambda: None)
        self.opened(self.channel)

    def open(self, on_open_callback: Any) -> Channel:
        self.opened = on_open_callback
        return self.channel

    def update(self, lanes: dict[LaneSettings, Optional[Trouble]]) -> list[tuple[str, Optional[str]]]:
        """Return the type and the queue of each new event; no queue for an event of version 2."""
        self.channel.bodies.clear()
        self.publisher.update(lanes)
        return self.events()

    def events(self) -> list[tuple[str, Optional[str]]]:
        return [(body["event_type"], body.get("lane")) for body in self.channel.bodies]


@pytest.mark.parametrize("trouble, event", [(None, AVAILABLE), (BROKEN, DEGRADED)])
def test_lane_with_other_settings_is_announced_once_and_never_as_unavailable(
    trouble: Optional[Trouble], event: str
) -> None:
    board = Board()
    board.update({LANE: trouble, OTHER: trouble})
    changed = {replace(LANE, limit=1): trouble, replace(OTHER, consumer_priority=5): trouble}
    assert board.update(changed) == [(event, LANE.queue), (event, OTHER.queue)]
    assert board.channel.bodies[1]["capacity"]["consumer_priority"] == 5
    assert board.update(changed) == []
    board.channel.bodies.clear()
    board.loop.turn(60.0)
    assert [queue for _event, queue in board.events()] == [LANE.queue, OTHER.queue], "one heartbeat of each"


def test_lane_that_is_gone_is_unavailable_and_has_no_heartbeat() -> None:
    board = Board()
    board.update({LANE: None, OTHER: None})
    assert board.update({replace(LANE, limit=1): None}) == [(UNAVAILABLE, OTHER.queue), (AVAILABLE, LANE.queue)]
    board.channel.bodies.clear()
    board.loop.turn(60.0)
    assert board.events() == [(HEARTBEAT, LANE.queue)]


def test_lane_with_settings_that_no_event_shows_is_no_news_of_version_2() -> None:
    board = Board(instance="gpu")
    assert board.update({LANE: None}) == [(AVAILABLE, LANE.queue), (AVAILABLE, None)]
    assert board.update({replace(LANE, limit=1): None}) == [(AVAILABLE, LANE.queue)]
    assert board.update({}) == [(UNAVAILABLE, LANE.queue), (UNAVAILABLE, None)]
