# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's own queues: their options, their messages, and the end of the connection without them."""

from __future__ import annotations

from typing import Any

import pika
import pytest
from fleet_gateway._fleet.errors import FleetError
from fleet_gateway._fleet.messages import Message
from fleet_gateway._fleet.registry import EVERYTHING
from fleet_gateway.amqp.own_queues import MAX_EVENTS, consume_registry, consume_replies

from .memory_broker import MemoryBroker, opened, until
from .memory_front import run

Taken = list[Message]


def consumer(kind: str) -> Any:
    return {"replies": consume_replies, "registry": consume_registry}[kind]


KINDS = pytest.mark.parametrize("kind", ["replies", "registry"])


def test_consume_replies_queue_ends_with_the_connection_and_has_no_binding(broker: MemoryBroker) -> None:
    async def test() -> None:
        names = [await consume_replies(await opened(), lambda _message: None) for _gateway in range(2)]
        assert names[0] != names[1], "two gateways share a queue"
        for connection, name in zip(broker.connections, names):
            (channel,) = connection.channels
            assert channel.declared == [(name, {"exclusive": True, "auto_delete": True, "arguments": None})]
            assert channel.bound == []
        assert [queue for queue, _deliver in broker.consumers] == names

    run(test())


def test_consume_registry_queue_is_bounded_and_has_every_event(broker: MemoryBroker) -> None:
    async def test() -> None:
        await consume_registry(await opened(), lambda _message: None)
        (channel,) = broker.connections[0].channels
        ((queue, options),) = channel.declared
        assert options == {"exclusive": True, "auto_delete": True, "arguments": {"x-max-length": MAX_EVENTS}}
        assert channel.bound == [(queue, "llm.registry", EVERYTHING)]
        assert [name for name, _deliver in broker.consumers] == [queue]

    run(test())


@KINDS
def test_message_that_the_gateway_cannot_take_is_logged_and_the_next_one_arrives(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    taken: Taken = []

    def take(message: Message) -> None:
        taken.append(message)
        if len(taken) == 1:
            raise ZeroDivisionError

    async def test() -> None:
        await consumer(kind)(await opened(), take)
        ((_queue, deliver),) = broker.consumers
        for body in (b"first", b"second"):
            deliver(None, None, pika.BasicProperties(correlation_id="c-1"), body)
        assert [(message.properties.correlation_id, message.body) for message in taken] == [
            ("c-1", b"first"),
            ("c-1", b"second"),
        ]
        assert broker.connections[0].is_open

    run(test())
    assert [record.message for record in caplog.records] == ["defect"]


@KINDS
@pytest.mark.parametrize("is_deleted", [False, True])
def test_connection_without_its_queue_is_closed(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture, kind: str, is_deleted: bool
) -> None:
    async def test() -> None:
        await consumer(kind)(await opened(), lambda _message: None)
        (connection,) = broker.connections
        (channel,) = connection.channels
        if is_deleted:
            for callback in channel.cancelled:
                callback(None)
        else:
            channel.end()
        await until(lambda: not connection.is_open)

    run(test())
    assert ("queue_lost" in [record.message for record in caplog.records]) is is_deleted


@pytest.mark.parametrize(
    "kind, refused",
    [
        ("replies", "channel"),
        ("replies", "declare"),
        ("replies", "consume"),
        ("registry", "declare"),
        ("registry", "llm.registry"),
        ("registry", "consume"),
    ],
)
def test_consume_refused_step_raises(broker: MemoryBroker, kind: str, refused: str) -> None:
    async def test() -> None:
        broker.refused.add(refused)
        with pytest.raises(FleetError, match="ACCESS_REFUSED"):
            await consumer(kind)(await opened(), lambda _message: None)

    run(test())
