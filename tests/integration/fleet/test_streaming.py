# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streamed answers: the literal messages on the wire, and the result of the collection's requester."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, Callable, Optional

import pika
import pytest
from fleet_parts import CHAT_MODEL, EMBED_MODEL, ScriptedOllama, WorkerProcess, asking, channel_to, eventually
from fleet_worker._fleet.broker import BrokerSettings
from fleet_worker._fleet.dialects import dialect_named
from fleet_worker._fleet.errors import FleetAnswerError, InvalidQuestionError
from fleet_worker._fleet.lanes import lane
from fleet_worker._fleet.messages import Delta, Question
from fleet_worker._fleet.requester import Requester, RoundTrip

Start = Callable[..., WorkerProcess]

CHAT = "llm.request.ollama.chat.smollm2.135m"
WORDS = ["Good ", "morning", ", ", "Dave", "."]
END = {
    "model": CHAT_MODEL,
    "created_at": "2026-04-09T08:00:01Z",
    "done": True,
    "done_reason": "stop",
    "total_duration": 900,
    "prompt_eval_count": 31,
    "eval_count": 12,
}


class Telling:
    """An Ollama that sends a word each time the test asks for it, or all words at once."""

    def __init__(self, words: Optional[list[str]] = None, stepwise: bool = True) -> None:
        self.words = WORDS if words is None else words
        self.step = threading.Semaphore(0)
        self.stepwise = stepwise
        self.begun = threading.Event()

    def __call__(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/api/embed":
            return 200, {"model": EMBED_MODEL, "embeddings": [[0.5]], "prompt_eval_count": 3}
        if not body.get("stream"):
            return 200, {**END, **self.piece(path, "".join(self.words))}
        return 200, self.lines(path)

    def piece(self, path: str, text: str) -> dict[str, Any]:
        if path == "/api/generate":
            return {"response": text}
        return {"message": {"role": "assistant", "content": text}}

    def lines(self, path: str) -> Iterator[dict[str, Any]]:
        self.begun.set()
        for word in self.words:
            if self.stepwise:
                assert self.step.acquire(timeout=60)
            yield {"model": CHAT_MODEL, "done": False, **self.piece(path, word)}
        if self.stepwise:
            assert self.step.acquire(timeout=60)
        yield {**END, **self.piece(path, "")}


class Typed:
    """A requester with plain pika that reads deltas, without code of the collection."""

    def __init__(self, channel: Any, **queue: Any) -> None:
        self.channel = channel
        self.reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
        channel.queue_declare(self.reply_to, auto_delete=True, **queue)

    def ask(self, headers: Optional[dict[str, Any]] = None, **body: Any) -> str:
        correlation_id = f"req_{uuid.uuid4()}"
        properties = pika.BasicProperties(
            type="llm.fleet.request",
            content_type="application/json",
            reply_to=self.reply_to,
            correlation_id=correlation_id,
            message_id=f"req_{uuid.uuid4()}",
            headers={"x-legion-llm-stream": "delta"} if headers is None else headers,
        )
        content = {"request_type": "chat", "messages": [{"role": "user", "content": "Hello"}], **body}
        self.channel.basic_publish("llm.request", CHAT, json.dumps(content).encode(), properties, mandatory=True)
        return correlation_id

    def next(self, within: float = 30.0) -> tuple[pika.BasicProperties, dict[str, Any]]:
        got: list[Any] = []

        def arrived() -> bool:
            got[:] = self.channel.basic_get(self.reply_to, auto_ack=True)
            return got[0] is not None

        eventually(arrived, "a message in the reply queue", within)
        return got[1], json.loads(got[2])

    def rest(self) -> Iterator[tuple[pika.BasicProperties, dict[str, Any]]]:
        """Everything up to the answer, and the answer."""
        while True:
            properties, body = self.next()
            yield properties, body
            if properties.type != "llm.fleet.delta":
                return


@pytest.fixture
def telling(scripted: ScriptedOllama) -> Telling:
    scripted.behave = telling = Telling()
    return telling


@pytest.fixture
def typed(clean_broker: Any) -> Iterator[Typed]:
    with channel_to(clean_broker) as channel:
        yield Typed(channel)


def ask(requester: Requester, **others: Any) -> RoundTrip:
    on_delta = others.pop("on_delta", None)
    arguments = {"messages": [{"role": "user", "content": "Hello"}]}
    question = Question("chat", CHAT_MODEL, arguments, 60, stream=True)
    return requester.ask(
        question,
        dialect_named(others.pop("dialect", "typed")),
        exchange="llm.request",
        routing_key=lane("chat", CHAT_MODEL).queue,
        seconds=60,
        on_delta=on_delta,
    )


# What goes over the wire.


def test_deltas_arrive_before_the_whole_answer(
    clean_broker: Any, scripted: ScriptedOllama, telling: Telling, start: Start, typed: Typed
) -> None:
    start(clean_broker, scripted.url).wait_ready()
    context = {"request_id": "req_77"}
    correlation_id = typed.ask(message_context=context)
    texts, attempts = [], set()
    for number, word in enumerate(WORDS):
        telling.step.release()
        properties, body = typed.next()
        # Each word comes while Ollama still waits for the next one from the test.
        assert body == {
            "message_context": context,
            "request_type": "chat",
            "stream": True,
            "delta": {"role": "assistant", "content": word},
        }
        assert properties.type == "llm.fleet.delta"
        assert properties.correlation_id == correlation_id
        assert properties.message_id.startswith("delta_")
        assert (properties.reply_to, properties.delivery_mode) == (typed.reply_to, 1)
        headers = dict(properties.headers)
        attempts.add(headers.pop("x-legion-fleet-attempt"))
        assert headers == {
            "legion_protocol_version": "2.0",
            "x-legion-llm-provider": "ollama",
            "x-legion-llm-model": CHAT_MODEL,
            "x-legion-llm-request-type": "chat",
            "x-legion-llm-schema-version": "1.0.0",
            "x-legion-llm-request-id": "req_77",
            "x-legion-hostname": "gpu-01",
            "x-legion-fleet-sequence": number,
        }
        texts.append(body["delta"]["content"])
    telling.step.release()
    properties, body = typed.next()
    assert properties.type == "llm.fleet.response"
    assert properties.headers["x-legion-fleet-deltas"] == len(WORDS)
    assert attempts == {properties.headers["x-legion-fleet-attempt"]}
    assert body["message"] == {"role": "assistant", "content": "Good morning, Dave."}
    assert body["tokens"] == {"input": 31, "output": 12, "total": 43}
    assert (body["stop"], body["stream"]) == ({"reason": "stop"}, False)
    assert scripted.calls[0][1]["stream"] is True


def test_deltas_of_a_fast_model_are_joined(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, typed: Typed
) -> None:
    words = [f"{number} " for number in range(5000)]
    scripted.behave = Telling(words, stepwise=False)
    start(clean_broker, scripted.url).wait_ready()
    began = time.monotonic()
    typed.ask()
    *deltas, (properties, body) = typed.rest()
    seconds = time.monotonic() - began
    assert "".join(delta["delta"]["content"] for _properties, delta in deltas) == "".join(words)
    assert [one.headers["x-legion-fleet-sequence"] for one, _delta in deltas] == list(range(len(deltas)))
    assert properties.headers["x-legion-fleet-deltas"] == len(deltas)
    assert body["message"]["content"] == "".join(words)
    assert len(deltas) <= 3 + seconds / 0.05


@pytest.mark.parametrize(
    "headers, body, expected",
    [
        ({}, {}, "llm.fleet.response"),
        ({"x-legion-llm-stream": "events"}, {}, "llm.fleet.response"),
        ({}, {"stream": True}, "llm.fleet.error"),
    ],
)
def test_request_without_stream_gets_no_deltas(
    headers: Any, body: Any, expected: str, clean_broker: Any, scripted: ScriptedOllama, start: Start, typed: Typed
) -> None:
    scripted.behave = Telling(stepwise=False)
    start(clean_broker, scripted.url).wait_ready()
    typed.ask(headers, **body)
    properties, body = typed.next()
    assert properties.type == expected
    assert "x-legion-fleet-deltas" not in properties.headers
    if expected == "llm.fleet.error":
        assert body["error"]["code"] == "unsupported_streaming"


def test_deltas_include_generate_thinking_and_tools(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    call = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}

    def behave(path: str, _body: dict[str, Any]) -> Any:
        if path == "/api/generate":
            return 200, iter([{"response": "Once"}, {"response": " more"}, {**END, "response": ""}])
        parts = [{"thinking": "Hm."}, {"content": "Let me look."}, {"tool_calls": [call]}]
        messages = ({"role": "assistant", "content": "", **part} for part in [*parts, {}])
        return 200, ({**(END if last else {}), "message": message} for last, message in zip([0, 0, 0, 1], messages))

    scripted.behave = behave
    lanes = [{"type": "chat", "model": CHAT_MODEL}, {"type": "generate", "model": CHAT_MODEL}]
    start(clean_broker, scripted.url, lanes=lanes).wait_ready()
    deltas: list[Delta] = []
    answer = ask(requester, on_delta=deltas.append).answer
    assert answer.message == {
        "role": "assistant",
        "content": "Let me look.",
        "thinking": "Hm.",
        "tool_calls": [call],
    }
    assert "".join(delta.thinking for delta in deltas) == "Hm."
    assert "".join(delta.content for delta in deltas) == "Let me look."
    assert [one for delta in deltas for one in delta.tool_calls] == [call]

    question = Question("generate", CHAT_MODEL, {"prompt": "x"}, 30, stream=True)
    key = lane("generate", CHAT_MODEL).queue
    deltas.clear()
    answered = requester.ask(
        question,
        dialect_named("typed"),
        exchange="llm.request",
        routing_key=key,
        seconds=30,
        on_delta=deltas.append,
    )
    assert answered.answer.text == "Once more" == "".join(delta.content for delta in deltas)


def test_embedding_has_no_deltas(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    scripted.behave = Telling()
    start(clean_broker, scripted.url).wait_ready()
    question = Question("embed", EMBED_MODEL, {"input": ["x"]}, 30, stream=True)
    answered = requester.ask(
        question,
        dialect_named("typed"),
        exchange="llm.request",
        routing_key=lane("embed", EMBED_MODEL).queue,
        seconds=30,
    )
    assert answered.answer.embeddings == [[0.5]]
    assert answered.stream is not None
    assert (answered.stream.deltas, answered.stream.first_seconds) == (0, None)


# Our own requester.


def test_requester_passes_each_delta_to_its_callback(
    clean_broker: Any, scripted: ScriptedOllama, telling: Telling, start: Start, requester: Requester
) -> None:
    start(clean_broker, scripted.url).wait_ready()
    deltas: list[Delta] = []

    def told(delta: Delta) -> None:
        deltas.append(delta)
        telling.step.release()

    telling.step.release()
    answered = ask(requester, on_delta=told)
    assert [delta.content for delta in deltas] == WORDS
    assert answered.answer.text == "".join(WORDS)
    stream = answered.stream
    assert stream is not None
    assert (stream.deltas, stream.missing, stream.duplicates, stream.attempts) == (5, 0, 0, 1)
    assert stream.first_seconds is not None and 0 < stream.first_seconds < answered.seconds


@pytest.mark.every_version
def test_deltas_reach_a_direct_reply_queue(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    scripted.behave = Telling(stepwise=False)
    start(clean_broker, scripted.url).wait_ready()
    deltas: list[Delta] = []
    with asking(BrokerSettings.from_url(clean_broker.amqp_url), direct=True) as direct:
        assert ask(direct, on_delta=deltas.append).answer.text == "".join(WORDS)
    assert "".join(delta.content for delta in deltas) == "".join(WORDS)


def test_failure_in_the_middle_is_an_error_after_deltas(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    def lines() -> Iterator[dict[str, Any]]:
        yield {"message": {"role": "assistant", "content": "Good "}}
        yield {"error": "the runner fell over"}

    scripted.behave = lambda _path, _body: (200, lines())
    start(clean_broker, scripted.url).wait_ready()
    deltas: list[Delta] = []
    with pytest.raises(FleetAnswerError, match="the runner fell over"):
        ask(requester, on_delta=deltas.append)
    assert [delta.content for delta in deltas] == ["Good "]


def test_broken_connection_to_ollama_starts_another_attempt(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    tries: list[int] = []

    def behave(path: str, _body: dict[str, Any]) -> Any:
        tries.append(1)
        return 200, cut() if len(tries) == 1 else Telling(stepwise=False).lines(path)

    arrived = threading.Event()

    def cut() -> Iterator[dict[str, Any]]:
        yield {"message": {"role": "assistant", "content": "Bad "}}
        arrived.wait(60)
        raise ConnectionError

    scripted.behave = behave
    start(clean_broker, scripted.url).wait_ready()
    deltas: list[Delta] = []

    def told(delta: Delta) -> None:
        deltas.append(delta)
        arrived.set()

    answered = ask(requester, on_delta=told)
    assert answered.answer.text == "".join(WORDS)
    assert answered.stream is not None
    assert (answered.stream.attempts, answered.stream.missing) == (2, 0)
    assert deltas[0].content == "Bad "
    assert "".join(delta.content for delta in deltas if delta.attempt == deltas[-1].attempt) == "".join(WORDS)


def test_dialect_0_3_1_has_no_deltas(clean_broker: Any, requester: Requester) -> None:
    with pytest.raises(InvalidQuestionError, match=r"The dialect '0\.3\.1' has no streams"):
        ask(requester, dialect="0.3.1")


def test_deltas_lost_doubled_or_reordered_do_no_harm(clean_broker: Any, requester: Requester) -> None:
    """The worker is typed out here, and not in order.

    The first delta is shown before the second try begins: what arrives together with the beginning of a new try is
    not shown any more (``test_arrivals.py``).
    """
    first_is_shown = threading.Event()

    def delta(text: str, number: int, attempt: str = "b") -> tuple[str, Any, Any]:
        headers = {"x-legion-fleet-attempt": attempt, "x-legion-fleet-sequence": number}
        return "llm.fleet.delta", headers, {"delta": {"role": "assistant", "content": text}}

    final = {"x-legion-fleet-attempt": "b", "x-legion-fleet-deltas": 5}
    messages = [
        delta("Bad ", 0, "a"),
        ("llm.fleet.delta", {}, {"delta": "no number, no attempt, no piece"}),
        delta("Good ", 0),
        delta("Bad ", 1, "a"),
        delta(", ", 2),
        delta("morning", 1),
        delta("morning", 1),
        # The fourth is lost.
        delta(".", 4),
        ("llm.fleet.response", final, {"message": {"role": "assistant", "content": "Good morning, Dave."}}),
        ("llm.fleet.response", final, {"message": {"role": "assistant", "content": "twice"}}),
    ]

    def serve() -> None:
        with channel_to(clean_broker) as served:
            _method, properties, _body = next(served.consume("llm.messy", inactivity_timeout=60))
            for number, (kind, headers, body) in enumerate(messages):
                if number == 1:
                    assert first_is_shown.wait(60)
                sent = pika.BasicProperties(type=kind, headers=headers, correlation_id=properties.correlation_id)
                served.basic_publish("", properties.reply_to, json.dumps(body).encode(), sent)

    with channel_to(clean_broker) as channel:
        channel.queue_declare("llm.messy", auto_delete=True)
        thread = threading.Thread(target=serve)
        thread.start()
        deltas: list[Delta] = []

        def show(one: Delta) -> None:
            deltas.append(one)
            first_is_shown.set()

        answered = requester.ask(
            Question("chat", "m", {"messages": []}, 60, stream=True),
            dialect_named("typed"),
            exchange="",
            routing_key="llm.messy",
            seconds=60,
            on_delta=show,
        )
        thread.join()
    assert answered.answer.text == "Good morning, Dave."
    assert [one.content for one in deltas] == ["Bad ", "Good ", "morning", ", "]
    stream = answered.stream
    assert stream is not None
    assert (stream.deltas, stream.missing, stream.duplicates, stream.attempts) == (4, 1, 1, 2)
