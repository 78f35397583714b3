# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control queue: what a deleted or refused queue does, and which cancellations are remembered."""

from __future__ import annotations

from typing import Any, Optional

import pika
import pytest
from fleet_worker._fleet.broker import Address, BrokerSettings
from fleet_worker._fleet.control import cancellation, control_queue_of
from fleet_worker._fleet.pika_messages import to_pika
from fleet_worker.amqp.control_queue import RETRY, RETRY_DELETED, ControlQueue
from fleet_worker.amqp.reconnecting import ReconnectingConnection

from ..fake_pika import FakeChannel, FakeConnection, install
from ..manual_loop import ManualLoop


class ControlledNode:
    """A control queue over a connection, and the requests that it has cancelled."""

    def __init__(self) -> None:
        settings = BrokerSettings(addresses=(Address("127.0.0.1", 1),))
        self.loop = ManualLoop()
        self.cancelled: list[str] = []
        link = ReconnectingConnection(
            self.loop,
            settings,
            opened=lambda _connection: self.queue.open(),
            lost=lambda _error: None,
            failed=lambda _error: None,
        )
        self.queue = ControlQueue(link, settings, "gpu-01", self.cancelled.append)
        link.start()
        self.connection.open()

    @property
    def connection(self) -> FakeConnection:
        return FakeConnection.made[-1]

    def opened(self) -> Optional[FakeChannel]:
        """Open the channel that the queue asked for, if any."""
        channels = self.connection.open_channels()
        return channels[0] if channels else None


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> ControlledNode:
    install(monkeypatch)
    return ControlledNode()


def deliver(channel: Any, correlation_id: str) -> None:
    message = cancellation("gpu-01", correlation_id).message
    channel.consumers[control_queue_of("gpu-01")](channel, None, to_pika(message), message.body)


def test_cancellation_is_passed_on_and_remembered(node: ControlledNode) -> None:
    deliver(node.opened(), "c-1")
    assert node.cancelled == ["c-1"]
    assert node.queue.is_cancelled("c-1") and not node.queue.is_cancelled("c-2")


def test_deleted_queue_is_declared_again(node: ControlledNode) -> None:
    channel = node.opened()
    assert channel is not None
    channel.end_consumer(pika.spec.Basic.Cancel("tag"))
    assert not channel.is_open
    node.loop.turn(RETRY_DELETED)
    deliver(node.opened(), "c-1")
    assert node.cancelled == ["c-1"]


def test_deleted_queue_is_left_alone_when_the_connection_is_lost(node: ControlledNode) -> None:
    channel = node.opened()
    assert channel is not None
    channel.end_consumer(pika.spec.Basic.Cancel("tag"))
    node.connection.lose()
    node.loop.turn(RETRY_DELETED)
    assert node.opened() is None


def test_refused_queue_is_declared_again_later(node: ControlledNode) -> None:
    FakeConnection.refused.add(control_queue_of("gpu-01"))
    node.opened()
    FakeConnection.refused.clear()
    node.loop.turn(RETRY - 1)
    assert node.opened() is None
    node.loop.turn(1)
    assert node.opened() is not None
