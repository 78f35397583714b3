# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A direct reply queue that somebody made up costs a connection that nothing else depends on."""

from __future__ import annotations

import base64
import struct
from typing import Any, Callable, Optional

import pytest
from fleet_worker._fleet.messages import Message, Properties, Reply
from fleet_worker.amqp.reply_probe import PATIENCE, REFUSED_FOR, ReplyProbe
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

from ..manual_loop import ManualLoop


def direct(node: int, key: int = 0) -> Reply:
    name = f"reply@{node}".encode()
    process = base64.b64encode(b"\x83Xv" + struct.pack(">H", len(name)) + name + bytes(12)).decode()
    queue = f"amq.rabbitmq.reply-to.{process}.{base64.b64encode(bytes([key] * 16)).decode()}"
    return Reply("", queue, Message(Properties(correlation_id="c"), {}, b"{}"))


class Channel:
    def __init__(self) -> None:
        self.sent: list[str] = []

    def add_on_close_callback(self, callback: Callable[..., None]) -> None:
        self.closed = callback

    def confirm_delivery(self, confirmed: Callable[..., None], callback: Callable[..., None]) -> None:
        self.confirmed = confirmed
        callback(None)

    def basic_publish(self, _exchange: str, key: str, _body: bytes, _properties: Any) -> None:
        self.sent.append(key)


class Connection:
    """A connection that a test opens, and whose channel opens at once."""

    def __init__(self, _parameters: Any, _loop: Any, **callbacks: Callable[..., None]) -> None:
        self.callbacks = callbacks
        self.is_open = False
        self.closed = False
        self.made_channel = Channel()

    def open(self) -> None:
        self.is_open = True
        self.callbacks["on_open_callback"](self)

    def channel(self, on_open_callback: Callable[[Any], None]) -> Channel:
        on_open_callback(self.made_channel)
        return self.made_channel

    def confirm(self, method: str = "Ack") -> None:
        self.made_channel.confirmed(type("Frame", (), {"method": type(method, (), {})()})())

    def end(self, code: int = 541) -> None:
        self.is_open = False
        error = ConnectionClosedByBroker(code, "INTERNAL_ERROR")
        self.made_channel.closed(self.made_channel, error)
        self.callbacks["on_close_callback"](self, error)

    def close(self) -> None:
        self.is_open = False
        self.closed = True


class Wire:
    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.connections: list[Connection] = []
        self.told: list[Optional[bool]] = []
        self.published: list[bool] = []
        self.probe = ReplyProbe(self.loop, connect=self.connect, clock=lambda: self.loop.now)

    def connect(self, *parameters: Any, **callbacks: Any) -> Connection:
        self.connections.append(Connection(*parameters, **callbacks))
        return self.connections[-1]

    def publish(self, *replies: Reply) -> None:
        for reply in replies:
            assert self.probe.is_needed(reply)
            self.probe.publish(None, reply, self.hear)

    def hear(self, taken: Optional[bool], published: bool) -> None:
        self.told.append(taken)
        self.published.append(published)


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_answer_to_a_queue_with_a_name_needs_no_probe(wire: Wire) -> None:
    assert not wire.probe.is_needed(Reply("", "llm.fleet.reply.a", Message(Properties(), {}, b"")))


def test_node_that_takes_an_answer_needs_no_further_probe(wire: Wire) -> None:
    wire.publish(direct(1), direct(1, key=1), direct(2))
    wire.connections[0].open()
    assert wire.connections[0].made_channel.sent == [direct(1).routing_key]
    wire.connections[0].confirm()
    assert wire.told == [None, True], "the second one has its node known, and goes the usual way"
    assert wire.connections[0].closed
    assert not wire.probe.is_needed(direct(1, key=2))
    assert len(wire.connections) == 2, "the third one is for another node"


def test_pieces_that_wait_for_their_node_go_out_before_the_piece_that_follows_the_first(wire: Wire) -> None:
    """The confirm of the first piece makes room for another one, which needs no probe any more."""
    order: list[int] = []

    def publish(number: int) -> None:
        if wire.probe.is_needed(direct(1)):
            wire.probe.publish(None, direct(1), lambda taken, _published: arrived(number, taken))
        else:
            order.append(number)

    def arrived(number: int, taken: Optional[bool]) -> None:
        order.append(number)
        if taken:
            publish(3)

    for number in range(3):
        publish(number)
    wire.connections[0].open()
    wire.connections[0].confirm()
    assert order == [1, 2, 0, 3], "the broker has the first one, and gets the others in their order"


def test_node_that_costs_the_connection_costs_no_other(wire: Wire) -> None:
    wire.publish(direct(1), direct(1, key=1))
    wire.connections[0].open()
    wire.connections[0].end()
    assert wire.told == [False, False]
    wire.publish(direct(1, key=2))
    assert wire.told == [False, False, False]
    assert len(wire.connections) == 1


def test_node_that_has_stopped_is_answered_again_after_its_return(wire: Wire) -> None:
    """RabbitMQ 3.10 refuses a stopped node like an invented one."""
    wire.publish(direct(1))
    wire.connections[0].open()
    wire.connections[0].end()
    wire.loop.turn(REFUSED_FOR)
    wire.publish(direct(1))
    wire.connections[1].open()
    wire.connections[1].confirm()
    assert wire.told == [False, True]
    assert not wire.probe.is_needed(direct(1))


def test_refused_node_costs_one_connection_in_the_time_of_its_refusal(wire: Wire) -> None:
    for number in range(1, 4):
        for _answer in range(10):
            wire.publish(direct(1))
        assert len(wire.connections) == number
        wire.connections[-1].open()
        wire.connections[-1].end()
        wire.publish(direct(1))
        wire.loop.turn(REFUSED_FOR)
    assert set(wire.told) == {False}


def test_known_node_that_is_doubted_is_probed_again(wire: Wire) -> None:
    wire.publish(direct(1))
    wire.connections[0].open()
    wire.connections[0].confirm()
    wire.probe.doubt(direct(1, key=1))
    assert wire.probe.is_needed(direct(1))


@pytest.mark.parametrize("how", ["refused", "forced", "nack", "channel", "time"])
def test_probe_that_finds_nothing_out_says_so(wire: Wire, how: str) -> None:
    wire.publish(direct(1))
    (connection,) = wire.connections
    if how == "refused":
        connection.callbacks["on_open_error_callback"](connection, OSError())
    elif how == "time":
        wire.loop.turn(PATIENCE)
        connection.open()
        assert connection.closed and connection.made_channel.sent == []
    else:
        connection.open()
        if how == "forced":
            connection.end(320)
        elif how == "nack":
            connection.confirm("Nack")
        else:
            connection.made_channel.closed(None, ChannelClosedByBroker(403, "ACCESS_REFUSED"))
    assert wire.told == [None]
    assert wire.probe.is_needed(direct(1))


def test_probe_that_is_abandoned_calls_nobody_and_goes_on_later(wire: Wire) -> None:
    wire.publish(direct(1), direct(2))
    wire.connections[0].open()
    wire.probe.abandon()
    assert wire.connections[0].closed
    wire.connections[0].confirm()
    assert wire.told == []
    wire.publish(direct(3))
    wire.connections[1].open()
    wire.connections[1].confirm()
    assert wire.told == [True]


@pytest.mark.parametrize("how", ["late", "lost", "refused"])
def test_answer_without_a_confirm_is_reported_as_published(wire: Wire, how: str) -> None:
    """The broker may have taken it."""
    wire.publish(direct(1))
    wire.connections[0].open()
    if how == "late":
        wire.loop.turn(PATIENCE)
    elif how == "lost":
        wire.connections[0].end(320)
    else:
        wire.connections[0].confirm("Nack")
    assert (wire.told, wire.published) == ([None], [True])


def test_answer_whose_connection_never_opens_is_reported_as_not_published(wire: Wire) -> None:
    wire.publish(direct(1))
    wire.loop.turn(PATIENCE)
    assert (wire.told, wire.published) == ([None], [False])
