# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The publisher of requests: each refused request is reported once, with the right reason."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pika
import pytest
from fleet_gateway._fleet.errors import FleetError
from fleet_gateway._fleet.messages import Message, Properties
from fleet_gateway.amqp.open_connection import OpenConnection
from fleet_gateway.amqp.request_publisher import FULL, LOST, UNACCEPTABLE, UNROUTABLE, RequestPublisher

from .memory_broker import BrokerChannel, MemoryBroker, opened, until
from .memory_front import run


class Publishing:
    """A publisher, and the reported refusals by message id."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.publisher = RequestPublisher("llm.request")
        self.refusals: list[tuple[str, str]] = []

    async def open(self) -> OpenConnection:
        connection = await opened()
        await self.publisher.open(connection)
        return connection

    @property
    def channel(self) -> BrokerChannel:
        return self._broker.publishing

    def send(self, *names: str, lane: str = "lane") -> None:
        for name in names:
            message = Message(Properties(message_id=name), {}, name.encode())
            self.publisher.publish(message, lane, lambda why, name=name: self.refusals.append((name, why)))

    def confirm(self, tag: int, *, positive: bool = True, multiple: bool = False) -> None:
        method = (pika.spec.Basic.Ack if positive else pika.spec.Basic.Nack)(tag, multiple)
        self.channel.confirmed(SimpleNamespace(method=method))

    def give_back(self, name: str) -> None:
        for returned in self.channel.returned:
            returned(None, None, pika.BasicProperties(message_id=name), b"")


@pytest.fixture
def publishing(broker: MemoryBroker) -> Publishing:
    return Publishing(broker)


def test_publish_sends_to_the_exchange_and_asks_for_unroutable_requests(publishing: Publishing) -> None:
    async def test() -> None:
        await publishing.open()
        publishing.send("m-1", lane="llm.request.ollama.chat.m.1")
        assert publishing.channel.published == [("llm.request", "llm.request.ollama.chat.m.1")]
        ((body, properties, options),) = publishing.channel.messages
        assert (body, properties.message_id, options) == (b"m-1", "m-1", {"mandatory": True})

    run(test())


def test_confirmed_requests_of_several_tags_are_not_refused_later(publishing: Publishing) -> None:
    async def test() -> None:
        await publishing.open()
        publishing.send("m-1", "m-2", "m-3")
        publishing.confirm(2, multiple=True)
        publishing.publisher.drop()
        assert publishing.refusals == [("m-3", LOST)]

    run(test())


def test_returned_request_alone_is_unroutable(publishing: Publishing) -> None:
    async def test() -> None:
        await publishing.open()
        publishing.send("m-1", "m-2")
        publishing.give_back("m-2")
        assert publishing.refusals == []  # the confirm follows
        publishing.confirm(2, multiple=True)
        assert publishing.refusals == [("m-2", UNROUTABLE)]
        publishing.send("m-2")  # a second one of the same name has a queue now
        publishing.confirm(3)
        assert publishing.refusals == [("m-2", UNROUTABLE)]

    run(test())


def test_rejected_requests_of_several_tags_found_a_full_queue(publishing: Publishing) -> None:
    async def test() -> None:
        await publishing.open()
        publishing.send("m-1", "m-2", "m-3")
        publishing.confirm(2, positive=False, multiple=True)
        publishing.confirm(3)
        assert publishing.refusals == [("m-1", FULL), ("m-2", FULL)]

    run(test())


def test_confirm_of_an_unknown_request_does_nothing(publishing: Publishing) -> None:
    async def test() -> None:
        await publishing.open()
        publishing.send("m-1")
        publishing.confirm(1)
        publishing.confirm(1, positive=False)
        publishing.confirm(7, positive=False)
        assert publishing.refusals == []

    run(test())


def test_request_that_cannot_be_written_takes_no_tag(publishing: Publishing) -> None:
    async def test() -> None:
        await publishing.open()
        publishing.send("m-1", lane="odd")
        publishing.send("m-2", "m-3")
        publishing.confirm(2, positive=False)
        assert publishing.refusals == [("m-1", UNACCEPTABLE), ("m-3", FULL)]

    run(test())


def test_publish_without_a_connection_is_lost(publishing: Publishing) -> None:
    async def test() -> None:
        publishing.send("m-1")
        await publishing.open()
        assert publishing.publisher.is_open
        publishing.publisher.drop()
        publishing.send("m-2")
        assert publishing.refusals == [("m-1", LOST), ("m-2", LOST)]
        assert publishing.channel.published == []

    run(test())


def test_closed_channel_is_replaced_and_its_tags_begin_again(broker: MemoryBroker, publishing: Publishing) -> None:
    async def test() -> None:
        await publishing.open()
        publishing.send("m-1", "m-2")
        publishing.give_back("m-2")
        first = publishing.channel
        first.end()
        assert publishing.refusals == [("m-1", UNACCEPTABLE), ("m-2", UNACCEPTABLE)]
        publishing.send("m-3")
        await until(lambda: publishing.publisher.is_open)
        assert publishing.channel is not first and len(broker.connections) == 1
        publishing.send("m-2", "m-4")
        publishing.confirm(1)
        publishing.confirm(2, positive=False)
        assert publishing.refusals[2:] == [("m-3", LOST), ("m-4", FULL)]

    run(test())


def test_channel_of_a_lost_connection_is_not_replaced(broker: MemoryBroker, publishing: Publishing) -> None:
    async def test() -> None:
        await publishing.open()
        publishing.send("m-1")
        broker.connections[0].lose()
        assert publishing.refusals == [("m-1", LOST)]
        await asyncio.sleep(0.05)
        assert len(broker.connections[0].channels) == 1

    run(test())


def test_channel_of_a_connection_that_was_lost_meanwhile_is_not_replaced(
    broker: MemoryBroker, publishing: Publishing, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        await publishing.open()
        publishing.channel.end()
        broker.connections[0].lose()
        await asyncio.sleep(0.05)
        assert len(broker.connections[0].channels) == 1

    run(test())
    assert [record.message for record in caplog.records] == ["channel_closed"]


@pytest.mark.parametrize("attribute", ["refused", "silent"])
def test_channel_that_cannot_be_replaced_ends_the_connection(
    broker: MemoryBroker, publishing: Publishing, attribute: str
) -> None:
    async def test() -> None:
        connection = await publishing.open()
        getattr(broker, attribute).add("channel")
        publishing.channel.end()
        await until(lambda: not connection.is_open)
        assert not publishing.publisher.is_open

    run(test())


def test_open_broker_that_refuses_confirms_is_an_error(broker: MemoryBroker, publishing: Publishing) -> None:
    async def test() -> None:
        broker.refused.add("confirms")
        with pytest.raises(FleetError, match="ACCESS_REFUSED"):
            await publishing.open()
        assert not publishing.publisher.is_open

    run(test())
