# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cancellations, which must harm neither requests nor the connection."""

from __future__ import annotations

import pytest
from fleet_gateway._fleet.control import cancelled_id, control_queue_of
from fleet_gateway._fleet.errors import FleetError
from fleet_gateway._fleet.pika_messages import from_pika
from fleet_gateway.amqp.canceller import Canceller

from .memory_broker import BrokerChannel, MemoryBroker, opened
from .memory_front import run


async def ready(broker: MemoryBroker) -> tuple[Canceller, BrokerChannel]:
    """Return a canceller, and its channel."""
    canceller = Canceller()
    await canceller.open(await opened())
    return canceller, broker.connections[-1].channels[-1]


def test_cancel_sends_the_id_to_the_control_queue_of_each_node(broker: MemoryBroker) -> None:
    async def test() -> None:
        canceller, channel = await ready(broker)
        canceller.cancel(iter(["gpu-01", "gpu-02"]), "c-1")
        assert channel.published == [("", control_queue_of("gpu-01")), ("", control_queue_of("gpu-02"))]
        for body, properties, options in channel.messages:
            assert cancelled_id(from_pika(properties, body)) == "c-1"
            assert not options.get("mandatory"), "the broker returns it if the node is gone"

    run(test())


def test_cancel_message_that_cannot_be_sent_leaves_out_no_other_node(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        canceller, channel = await ready(broker)
        monkeypatch.setattr("fleet_gateway._fleet.control.control_queue_of", lambda node: node)
        canceller.cancel(["odd", "gpu-02"], "c-1")
        assert channel.published == [("", "gpu-02")]

    run(test())


def test_cancel_without_an_open_channel_does_nothing(broker: MemoryBroker) -> None:
    async def test() -> None:
        canceller, channel = await ready(broker)
        Canceller().cancel(["gpu-01"], "c-1")
        canceller.drop()
        canceller.cancel(["gpu-01"], "c-1")
        assert channel.published == []
        await canceller.open(await opened())
        canceller.cancel(["gpu-01"], "c-1")
        assert broker.connections[-1].channels[-1].published and channel.published == []

    run(test())


def test_close_by_the_broker_is_logged_with_a_remedy(broker: MemoryBroker, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        canceller, channel = await ready(broker)
        channel.end()
        canceller.cancel(["gpu-01"], "c-1")
        assert channel.published == []
        assert broker.connections[-1].is_open

    run(test())
    (record,) = caplog.records
    assert record.message == "cannot_cancel"
    assert "amq.default" in record.__dict__["fields"]["remedy"]
    assert "ACCESS_REFUSED" in record.__dict__["fields"]["error"]


def test_close_with_the_connection_is_not_logged(broker: MemoryBroker, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        _canceller, channel = await ready(broker)
        channel.end(OSError("gone"))

    run(test())
    assert caplog.records == []


def test_open_refused_channel_raises_and_cancels_nothing(broker: MemoryBroker) -> None:
    async def test() -> None:
        broker.refused.add("channel")
        canceller = Canceller()
        with pytest.raises(FleetError, match="ACCESS_REFUSED"):
            await canceller.open(await opened())
        canceller.cancel(["gpu-01"], "c-1")
        assert broker.connections[-1].channels[-1].published == []

    run(test())
