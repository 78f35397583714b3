# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's session with the broker: start, reconnect, and the report of each refused request."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Callable

import pika
import pytest
from fleet_gateway._fleet.broker import BrokerSettings
from fleet_gateway._fleet.messages import Message, Properties
from fleet_gateway.amqp.request_publisher import FULL, LOST, UNACCEPTABLE, UNROUTABLE
from fleet_gateway.amqp.session import BrokerSession

from .memory_broker import MemoryBroker
from .memory_front import run


class RunningSession:
    """A session that runs, and everything that it reports."""

    def __init__(self) -> None:
        self.replies: list[Message] = []
        self.events: list[Message] = []
        self.changes: list[bool] = []
        self.reasons: list[str] = []
        self.session = BrokerSession(
            BrokerSettings.from_url("amqp://user:secret@hub"),
            "llm.request",
            on_reply=self.replies.append,
            on_registry_event=self.events.append,
            changed=lambda: self.changes.append(self.session.is_up),
        )
        self.task = asyncio.ensure_future(self.session.run())

    async def until(self, true: Callable[[], Any]) -> None:
        for _turn in range(1000):
            if true():
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"the condition never held: {self.session.trouble}")

    async def up(self) -> RunningSession:
        await self.until(lambda: self.session.is_up and self.changes)
        return self

    def publish(self, routing_key: str = "lane", message_id: str = "m-1") -> None:
        message = Message(Properties(message_id=message_id), {}, b"{}")
        self.session.publish(message, routing_key, self.reasons.append)

    async def close(self) -> None:
        await self.session.close()
        self.task.cancel()


def confirm(broker: MemoryBroker, tag: int, *, positive: bool = True) -> None:
    method = pika.spec.Basic.Ack(tag) if positive else pika.spec.Basic.Nack(tag)
    broker.publishing.confirmed(SimpleNamespace(method=method))


def test_run_broker_that_answers_gives_queues_and_their_messages(broker: MemoryBroker) -> None:
    async def test() -> None:
        running = await RunningSession().up()
        assert running.session.reply_queue.startswith("llm.fleet.reply.gw-")
        (replies, answered), (_registry, announced) = broker.consumers
        assert replies == running.session.reply_queue
        answered(None, None, pika.BasicProperties(correlation_id="c"), b"answer")
        announced(None, None, pika.BasicProperties(), b"event")
        assert [message.body for message in running.replies] == [b"answer"]
        assert [message.body for message in running.events] == [b"event"]
        running.session._on_reply = None  # type: ignore[assignment]
        await running.close()
        assert not running.session.is_up

    run(test())


def test_run_callback_that_raises_leaves_the_session_up(broker: MemoryBroker) -> None:
    async def test() -> None:
        running = RunningSession()
        running.session._on_registry_event = lambda _message: 1 / 0  # type: ignore[assignment,return-value]
        await running.up()
        broker.consumers[1][1](None, None, pika.BasicProperties(), b"event")
        assert running.session.is_up
        await running.close()

    run(test())


@pytest.mark.parametrize("refused", ["connect", "channel", "declare", "llm.registry", "consume", "confirms"])
def test_run_refused_step_is_reported_and_retried(broker: MemoryBroker, refused: str) -> None:
    async def test() -> None:
        broker.refused.add(refused)
        running = RunningSession()
        await running.until(lambda: len(broker.connections) >= 3)
        assert running.session.trouble and not running.session.is_up and not running.changes
        broker.refused.clear()
        await running.up()
        assert running.session.trouble == ""
        await running.close()
        assert not any(connection.is_open for connection in broker.connections)

    run(test())


@pytest.mark.parametrize("last", ["channel", "declare", "llm.registry", "consume", "confirms"])
def test_run_connection_closed_together_with_an_answer_is_retried(broker: MemoryBroker, last: str) -> None:
    async def test() -> None:
        broker.last.add(last)
        running = RunningSession()
        await running.until(lambda: len(broker.connections) >= 3)
        assert "gone" in running.session.trouble and not running.changes
        broker.last.clear()
        await running.up()
        await running.close()

    run(test())


def test_run_broker_without_confirms_is_reported_and_retried(broker: MemoryBroker) -> None:
    async def test() -> None:
        broker.has_confirms = False
        running = RunningSession()
        await running.until(lambda: len(broker.connections) >= 3)
        assert "Confirm.Select not Supported" in running.session.trouble
        broker.has_confirms = True
        await running.up()
        broker.has_confirms = False
        broker.publishing.end()
        await running.until(lambda: len(broker.connections) >= 5)
        broker.has_confirms = True
        await running.until(lambda: running.session.is_up)
        await running.close()

    run(test())


@pytest.mark.parametrize("silent", ["connect", "channel", "confirms"])
def test_run_silent_broker_is_reported_and_retried(broker: MemoryBroker, silent: str) -> None:
    async def test() -> None:
        broker.silent.add(silent)
        running = RunningSession()
        await running.until(lambda: "does not answer in time" in running.session.trouble)
        broker.silent.clear()
        # One that comes up when nobody waits for it any more is ended.
        if silent == "connect":
            broker.connections[0]._opened()
        await running.up()
        await running.until(lambda: not broker.connections[0].is_open)
        await running.close()

    run(test())


def test_run_lost_connection_refuses_unconfirmed_requests_and_reconnects(broker: MemoryBroker) -> None:
    async def test() -> None:
        running = await RunningSession().up()
        running.publish()
        broker.connections[0].lose()
        await running.until(lambda: running.changes == [True, False, True])
        assert running.reasons == [LOST]
        assert len(broker.connections) == 2
        await running.close()
        running.publish()
        assert running.reasons == [LOST, LOST]

    run(test())


def test_run_broker_with_an_alarm_is_down_until_the_alarm_ends(broker: MemoryBroker) -> None:
    async def test() -> None:
        running = await RunningSession().up()
        connection = broker.connections[0]
        connection.blocked(None, SimpleNamespace(method=SimpleNamespace(reason="low on disk")))
        assert (running.session.is_up, "low on disk" in running.session.trouble) == (False, True)
        connection.unblocked(None, None)
        assert (running.session.is_up, running.session.trouble) == (True, "")
        connection.blocked(None, SimpleNamespace(method=SimpleNamespace(reason="low on memory")))
        connection.lose()
        await running.until(lambda: len(broker.connections) == 2 and running.session.is_up)
        await running.close()

    run(test())


def test_run_closed_channel_is_a_trouble_until_the_next_one(broker: MemoryBroker) -> None:
    async def test() -> None:
        running = await RunningSession().up()
        running.publish()
        broker.publishing.end()
        assert (running.session.is_up, "another one" in running.session.trouble) == (False, True)
        assert running.reasons == [UNACCEPTABLE]
        await running.until(lambda: running.session.is_up)
        assert running.session.trouble == ""
        await running.close()

    run(test())


def test_publish_each_refused_request_is_reported_with_its_reason(broker: MemoryBroker) -> None:
    async def test() -> None:
        running = await RunningSession().up()
        for number in range(1, 5):
            running.publish(message_id=f"m-{number}")
        assert broker.publishing.published == [("llm.request", "lane")] * 4
        broker.publishing.returned[0](None, None, pika.BasicProperties(message_id="m-2"), b"")
        confirm(broker, 1)
        confirm(broker, 2)
        confirm(broker, 3, positive=False)
        confirm(broker, 9)
        assert running.reasons == [UNROUTABLE, FULL]
        running.publish("odd")
        assert running.reasons == [UNROUTABLE, FULL, UNACCEPTABLE]
        await running.close()

    run(test())


def test_publish_closed_channel_is_opened_again(broker: MemoryBroker) -> None:
    async def test() -> None:
        running = await RunningSession().up()
        running.publish()
        broker.publishing.end()
        assert running.reasons == [UNACCEPTABLE] and not running.session.is_up
        await running.until(lambda: running.session.is_up)
        assert len(broker.connections) == 1
        running.publish()
        confirm(broker, 1)
        assert running.reasons == [UNACCEPTABLE]
        await running.close()

    run(test())


def test_publish_channel_that_cannot_be_opened_again_ends_the_connection(broker: MemoryBroker) -> None:
    async def test() -> None:
        running = await RunningSession().up()
        broker.refused.add("confirms")
        broker.publishing.end()
        await running.until(lambda: len(broker.connections) > 1)
        broker.refused.clear()
        await running.until(lambda: running.session.is_up)
        await running.close()

    run(test())


@pytest.mark.parametrize("number", [0, 1], ids=["replies", "registry"])
@pytest.mark.parametrize("is_cancelled", [False, True], ids=["closed", "cancelled"])
def test_run_lost_queue_ends_the_connection(broker: MemoryBroker, number: int, is_cancelled: bool) -> None:
    async def test() -> None:
        running = await RunningSession().up()
        channel = broker.connections[0].channels[number]
        if is_cancelled:
            for callback in channel.cancelled:
                callback(SimpleNamespace(method=pika.spec.Basic.Cancel("tag")))
        else:
            channel.end()
        await running.until(lambda: running.changes == [True, False, True])
        await running.close()

    run(test())


def test_cancel_reaches_every_node_and_a_refusal_does_no_harm(broker: MemoryBroker) -> None:
    async def test() -> None:
        running = RunningSession()
        running.session.cancel(["gpu-01"], "c-1")
        await running.up()
        running.session.cancel(["gpu-01", "gpu-02"], "c-1")
        cancelling = broker.connections[0].channels[-1]
        assert [key for _exchange, key in cancelling.published] == [
            "legionio.control.gpu-01",
            "legionio.control.gpu-02",
        ]
        cancelling.end()
        running.session.cancel(["gpu-01"], "c-2")
        assert len(cancelling.published) == 2 and running.session.is_up
        await running.close()

    run(test())


def test_emit_data_of_one_turn_is_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from fleet_gateway.amqp.connection import Connection

    async def test() -> None:
        sent: list[bytes] = []
        connection = Connection.__new__(Connection)
        connection._event_loop = asyncio.get_running_loop()
        connection._outgoing = []
        connection._transport = SimpleNamespace(write=sent.append)
        connection._adapter_emit_data(b"a")
        connection._adapter_emit_data(b"b")
        assert sent == []
        await asyncio.sleep(0)
        assert sent == [b"ab"]
        connection._adapter_emit_data(b"c")
        connection._transport = None
        await asyncio.sleep(0)
        assert sent == [b"ab"]

    run(test())
