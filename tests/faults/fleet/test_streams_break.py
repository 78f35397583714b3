# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams that break: the requester leaves or reads slowly, the worker dies, the connection is lost."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any, Callable, Optional

import pika
import pytest
from fleet_parts import CHAT_MODEL, ScriptedOllama, WorkerProcess, answer, asking, channel_to, eventually, raise_alarm
from fleet_worker._fleet.broker import BrokerSettings
from fleet_worker._fleet.dialects import dialect_named
from fleet_worker._fleet.dialects.typed import DELTA
from fleet_worker._fleet.lanes import lane
from fleet_worker._fleet.messages import Delta, Question
from fleet_worker._fleet.requester import Requester, RoundTrip

from .requesters import Record

CHAT = lane("chat", CHAT_MODEL).queue
MESSAGES = [{"role": "user", "content": "Hello"}]
Start = Callable[..., WorkerProcess]


class Telling:
    """An Ollama that sends some words, and then waits for the test."""

    def __init__(self, *words: str, rest: str = "") -> None:
        self.words = words
        self.rest = rest
        self.go_on = threading.Event()

    def __call__(self, path: str, body: dict[str, Any]) -> Any:
        return (200, self.lines()) if body.get("stream") else answer(path, body)

    def lines(self) -> Iterator[dict[str, Any]]:
        for word in self.words:
            yield {"message": {"role": "assistant", "content": word}}
        if not self.go_on.wait(60):
            raise ConnectionError
        yield {"message": {"role": "assistant", "content": self.rest}}
        yield {
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 3,
            "eval_count": 2,
        }


@pytest.fixture
def second() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as ollama:
        yield ollama


def ask(requester: Requester, on_delta: Optional[Callable[[Delta], None]] = None) -> RoundTrip:
    question = Question("chat", CHAT_MODEL, {"messages": MESSAGES}, 90, stream=True)
    return requester.ask(
        question,
        dialect_named("typed"),
        exchange="llm.request",
        routing_key=CHAT,
        seconds=90,
        on_delta=on_delta,
    )


class StreamRequester:
    """Asks for a streamed answer over a channel, and reads one message at a time.

    :param limits: arguments of its reply queue.
    :ivar read: properties and body of each message.
    """

    def __init__(self, channel: Any, limits: Optional[dict[str, Any]] = None) -> None:
        self.record = Record()
        self.read: list[tuple[Any, Any]] = []
        self._channel = channel
        self._reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
        channel.queue_declare(self._reply_to, exclusive=True, arguments=limits)

    def ask(self) -> None:
        properties = pika.BasicProperties(
            type="llm.fleet.request",
            reply_to=self._reply_to,
            correlation_id="c-1",
            message_id=f"req_{uuid.uuid4()}",
            headers={"x-legion-llm-stream": "delta"},
        )
        self.record.sent("c-1")
        content = json.dumps({"messages": MESSAGES}).encode()
        self._channel.basic_publish("llm.request", CHAT, content, properties, mandatory=True)

    def take(self) -> bool:
        """Read a message; return whether there was one."""
        method, properties, body = self._channel.basic_get(self._reply_to, auto_ack=True)
        if method is None:
            return False
        self.record.received(properties)
        self.read.append((properties, json.loads(body)))
        return True

    def wait_delta(self) -> None:
        """Wait for the first piece of the answer."""
        eventually(self.take, "a delta", 30)

    def wait_answer(self) -> tuple[Any, Any]:
        """Read until the answer comes; return it."""
        eventually(lambda: self.take() and self.read[-1][0].type != DELTA, "the answer", 60)
        return self.read[-1]


def waiting(broker: Any) -> int:
    with channel_to(broker) as channel:
        count: int = channel.queue_declare(CHAT, passive=True).method.message_count
        return count


@pytest.mark.every_version
def test_requester_that_disappears_ends_the_inference(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    left = threading.Event()

    def lines() -> Iterator[dict[str, Any]]:
        yield {"message": {"role": "assistant", "content": "Good "}}
        assert left.wait(60)
        while True:  # until somebody hangs up
            yield {"message": {"role": "assistant", "content": "morning "}}

    scripted.behave = lambda path, body: (200, lines()) if body.get("stream") else answer(path, body)
    worker = start(shared_broker, scripted.url, concurrency=1).wait_ready()
    with channel_to(shared_broker) as channel:
        requester = StreamRequester(channel)
        requester.ask()
        requester.wait_delta()
        requester.record.give_up("c-1")
    left.set()
    assert scripted.cancelled.wait(30), "Ollama is still at work"
    assert "outcome=requester_gone" in worker.wait_log("event=request")
    # Settled, not given back: neither this node nor another begins it again, and the slot is free.
    assert waiting(shared_broker) == 0
    with asking(BrokerSettings.from_url(shared_broker.amqp_url)) as requester:
        question = Question("chat", CHAT_MODEL, {"messages": MESSAGES}, 30)
        answered = requester.ask(question, dialect_named("typed"), exchange="llm.request", routing_key=CHAT, seconds=30)
    assert answered.answer.text == "Good morning."
    assert len(scripted.calls) == 2


def test_stream_of_a_killed_worker_is_answered_in_full_by_the_other_node(
    shared_broker: Any, scripted: ScriptedOllama, second: ScriptedOllama, start: Start
) -> None:
    broken = scripted.behave = Telling("Half ", "of ")
    whole = second.behave = Telling("All ", "of ", rest="it.")
    whole.go_on.set()
    first = start(shared_broker, scripted.url).wait_ready()
    deltas: list[Delta] = []

    def told(delta: Delta) -> None:
        deltas.append(delta)
        if len(deltas) == 1:
            first.kill()
            start(shared_broker, second.url)

    with asking(BrokerSettings.from_url(shared_broker.amqp_url)) as requester:
        answered = ask(requester, told)
    assert (answered.answer.text, answered.answer.node) == ("All of it.", "gpu-1")
    assert answered.stream is not None
    assert (answered.stream.attempts, answered.stream.missing) == (2, 0)
    assert deltas[0].content.startswith("Half ")
    assert "".join(delta.content for delta in deltas if delta.attempt == deltas[-1].attempt) == "All of it."
    eventually(lambda: waiting(shared_broker) == 0, "the lane is empty")
    broken.go_on.set()


@pytest.mark.every_version
def test_full_reply_queue_loses_only_deltas(shared_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    """The requester reads nothing for a while, and its queue takes four messages."""
    words: list[str] = []
    enough, ready = threading.Event(), threading.Event()

    def lines() -> Iterator[dict[str, Any]]:
        while not enough.wait(0.06):  # each a delta of its own, where the machine is not too busy
            words.append(f"{len(words)} ")
            yield {"message": {"role": "assistant", "content": words[-1]}}
        assert ready.wait(60)
        yield {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}

    scripted.behave = lambda path, body: (200, lines()) if body.get("stream") else answer(path, body)
    worker = start(shared_broker, scripted.url, concurrency=2).wait_ready()
    with channel_to(shared_broker) as channel:
        limits = {"x-max-length": 4, "x-overflow": "reject-publish"}
        slow = StreamRequester(channel, limits)
        slow.ask()
        eventually(lambda: worker.status()["counters"].get("deltas", 0) >= 20, "deltas that find the queue full", 60)
        enough.set()
        # The other slot is not in its way.
        with asking(BrokerSettings.from_url(shared_broker.amqp_url)) as requester:
            question = Question("chat", CHAT_MODEL, {"messages": MESSAGES}, 30)
            answered = requester.ask(
                question, dialect_named("typed"), exchange="llm.request", routing_key=CHAT, seconds=30
            )
            assert answered.answer.text == "Good morning."

        def answered_at_last() -> bool:
            if not slow.take():
                ready.set()
                return False
            return slow.read[-1][0].type != DELTA

        eventually(answered_at_last, "the answer", 60)
    properties, body = slow.read[-1]
    assert body["message"]["content"] == "".join(words)
    assert properties.headers["x-legion-fleet-deltas"] > len(slow.read) - 1
    eventually(lambda: waiting(shared_broker) == 0, "the lane is empty")


def test_broker_with_an_alarm_gets_no_flood_of_deltas(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    """The broker accepts nothing for a while: the worker does not pile up deltas, and the answer is complete."""
    said = threading.Event()
    talking = threading.Event()
    text = "word " * 1000

    def lines() -> Iterator[dict[str, Any]]:
        yield {"message": {"role": "assistant", "content": "Begin. "}}
        assert talking.wait(60)
        for _number in range(180):
            yield {"message": {"role": "assistant", "content": text}}
        said.set()
        yield {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}

    scripted.behave = lambda _path, _body: (200, lines())
    worker = start(shared_broker, scripted.url).wait_ready()
    with channel_to(shared_broker) as channel:
        requester = StreamRequester(channel)
        requester.ask()
        requester.wait_delta()
        try:
            raise_alarm(shared_broker)
            talking.set()
            worker.wait_log("event=broker_blocked")
            assert said.wait(60), "Ollama is kept waiting by the broker"
        finally:
            shared_broker.ctl("set_vm_memory_high_watermark", "0.4")
        _properties, whole = requester.wait_answer()
    assert whole["message"]["content"] == "Begin. " + text * 180
    sizes = [len(body["delta"]["content"]) for _properties, body in requester.read[:-1]]
    # Eight that are not confirmed, and what waits behind them.
    assert sum(sizes) < 9 * 65536 < len(text) * 180


def test_lost_connection_in_a_stream_keeps_the_answer(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    """The worker continues, its redelivered request joins the running work, and the complete answer arrives once."""
    telling = scripted.behave = Telling("Good ", rest="morning.")
    worker = start(shared_broker, scripted.url).wait_ready()
    with channel_to(shared_broker) as channel:
        requester = StreamRequester(channel)
        requester.ask()
        requester.wait_delta()
        listed = shared_broker.ctl("-q", "list_connections", "pid", "client_properties").splitlines()
        pids = [line.split()[0] for line in listed if "fleet-worker gpu-0" in line]
        shared_broker.ctl("close_connection", pids[0], "test")
        worker.wait_log("event=connection_lost")
        eventually(lambda: worker.status()["counters"].get("joined"), "the request comes again", 60)
        telling.go_on.set()
        properties, body = requester.wait_answer()
        assert body["message"]["content"] == "Good morning."
        assert [piece["delta"]["content"] for _properties, piece in requester.read[:-1]] == ["Good ", "morning."]
        assert properties.headers["x-legion-fleet-redelivered"] == 1
        assert properties.headers["x-legion-fleet-deltas"] == 2
    assert len(scripted.calls) == 1
