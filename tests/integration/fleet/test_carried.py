# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carried requests reach Ollama unchanged, and can be cancelled."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any, Callable, Optional, Union

import pytest
from fleet_parts import CHAT_MODEL, EMBED_MODEL, ScriptedOllama, Slow, WorkerProcess, channel_to, eventually
from fleet_worker._fleet.control import cancellation
from fleet_worker._fleet.dialects.carried import AnswerPiece, Ending, request_message, understand
from fleet_worker._fleet.pika_messages import from_pika, to_pika

Start = Callable[..., WorkerProcess]

LANES = {
    "chat": "llm.request.ollama.chat.smollm2.135m",
    "generate": "llm.request.ollama.generate.smollm2.135m",
    "embed": "llm.request.ollama.embed.all-minilm.latest",
}
ALL_LANES = [
    {"type": "chat", "model": CHAT_MODEL},
    {"type": "generate", "model": CHAT_MODEL},
    {"type": "embed", "model": EMBED_MODEL},
]
HELLO = [{"role": "user", "content": "Say hello."}]
SHORT = {"seed": 1, "num_predict": 8, "temperature": 0}
CHAT = {"model": CHAT_MODEL, "messages": HELLO, "stream": False}
COMPATIBLE = {"messages": HELLO, "seed": 1, "max_tokens": 8, "temperature": 0}


class Front:
    """Asks as a gateway does, with plain pika."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
        channel.queue_declare(self.reply_to, exclusive=True, auto_delete=True)

    def ask(self, path: str, body: Any, lane: str = "chat", seconds: float = 60) -> str:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        asked = f"r-{uuid.uuid4()}"
        message = request_message(path, content, correlation_id=asked, reply_to=self.reply_to, seconds=seconds)
        self.channel.basic_publish("llm.request", LANES[lane], content, to_pika(message), mandatory=True)
        return asked

    def next(self, within: float = 60) -> Union[AnswerPiece, Ending]:
        got: list[Any] = []

        def arrived() -> bool:
            got[:] = self.channel.basic_get(self.reply_to, auto_ack=True)
            return got[0] is not None

        eventually(arrived, "a message in the reply queue", within)
        return understand(from_pika(got[1], got[2]))

    def answer(self) -> tuple[int, str, bytes, Ending, list[AnswerPiece]]:
        """Return status, content type and body as an HTTP client would see them, and the messages."""
        pieces: list[AnswerPiece] = []
        while isinstance(arrived := self.next(), AnswerPiece):
            pieces.append(arrived)
        assert arrived.failure is None, arrived.failure
        assert [piece.sequence for piece in pieces] == list(range(arrived.pieces or 0))
        head = pieces[0] if pieces else arrived
        body = b"".join(piece.body for piece in pieces) + arrived.body
        return head.status, head.content_type, body, arrived, pieces

    def cancel(self, correlation_id: str, node: str = "gpu-01") -> None:
        reply = cancellation(node, correlation_id)
        self.channel.basic_publish(reply.exchange, reply.routing_key, b"", to_pika(reply.message))

    @property
    def waits_for_nothing(self) -> bool:
        return self.channel.basic_get(self.reply_to, auto_ack=True)[0] is None


@pytest.fixture
def front(clean_broker: Any) -> Iterator[Front]:
    with channel_to(clean_broker) as channel:
        yield Front(channel)


def direct(url: str, body: bytes) -> tuple[int, Optional[str], bytes]:
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


#: What differs between two answers of Ollama to one request.
CHANGING = (
    *("created_at", "total_duration", "load_duration", "prompt_eval_duration", "eval_duration"),
    *("id", "created", "completed_at", "item_id", "response_id", "request_id"),
)


def comparable(content: bytes) -> list[Any]:
    """Return the documents of an answer, whole or streamed, without what differs from time to time."""

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: stripped(inner) for name, inner in value.items() if name not in CHANGING}
        return [stripped(inner) for inner in value] if isinstance(value, list) else value

    lines = [line.removeprefix(b"data: ") for line in content.splitlines() if line.strip()]
    return [stripped(json.loads(line)) if line.startswith(b"{") else line for line in lines]


CASES = [
    ("/api/chat", "chat", {"messages": HELLO, "options": SHORT, "stream": False}),
    ("/api/chat", "chat", {"messages": HELLO, "options": SHORT}),
    ("/api/generate", "generate", {"prompt": "Once", "options": SHORT}),
    ("/api/embed", "embed", {"input": ["a", "b"]}),
    ("/api/embed", "embed", {"input": [f"number {number}" for number in range(100)]}),
    ("/api/embeddings", "embed", {"prompt": "a"}),
    ("/v1/chat/completions", "chat", COMPATIBLE),
    ("/v1/chat/completions", "chat", {**COMPATIBLE, "stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/chat/completions", "chat", {**COMPATIBLE, "reasoning_effort": "enormous"}),
    ("/v1/completions", "generate", {"prompt": "Once", "seed": 1, "max_tokens": 8, "temperature": 0}),
    ("/v1/embeddings", "embed", {"input": "a", "encoding_format": "base64"}),
    ("/v1/responses", "chat", {"input": "Say hello.", "max_output_tokens": 8, "temperature": 0, "stream": True}),
    ("/v1/messages", "chat", {"messages": HELLO, "max_tokens": 8, "temperature": 0, "stream": True}),
]


def test_carried_answers_equal_those_of_ollama_itself(
    front: Front, clean_broker: Any, ollama: Any, start: Start
) -> None:
    worker = start(clean_broker, ollama.url, lanes=ALL_LANES).wait_ready()
    for path, lane, body in CASES:
        content = json.dumps({"model": EMBED_MODEL if lane == "embed" else CHAT_MODEL, **body}).encode()
        direct(ollama.url + path, content)  # what is in the cache of the model is counted differently
        expected = direct(ollama.url + path, content)
        front.ask(path, content, lane)
        status, content_type, answer, ending, pieces = front.answer()
        assert (status, content_type) == expected[:2], path
        assert comparable(answer) == comparable(expected[2]), path
        assert status == (400 if "reasoning_effort" in body else 200), path
        assert ending.node == "gpu-01"
        assert ending.input_tokens > 0 or path == "/api/embeddings" or status == 400
        assert bool(pieces) is (
            len(answer) > 256 * 1024 or content_type in ("application/x-ndjson", "text/event-stream")
        )
    assert worker.status()["counters"]["outcome:answered"] == len(CASES) - 1


def test_carried_body_and_answer_are_unchanged_to_the_byte(
    front: Front, clean_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    odd = b"HTTP/1.1 418 Odd\r\nContent-Type: text/odd\r\nContent-Length: 4\r\n\r\n\xff\x00\r\n"
    scripted.behave = lambda _path, _body: (200, odd)
    start(clean_broker, scripted.url).wait_ready()
    front.ask("/v1/chat/completions", b'{ "model":"smollm2:135m", "x_unknown": [1.50, "\\u00e9"], "messages":[] }')
    status, content_type, answer, _ending, _pieces = front.answer()
    assert (status, content_type, answer) == (418, "text/odd", b"\xff\x00\r\n")
    ((path, body),) = scripted.calls
    assert (path, body["x_unknown"]) == ("/v1/chat/completions", [1.5, "é"])


def test_carried_request_that_runs_is_ended_by_a_cancellation(
    front: Front, clean_broker: Any, ollama: Any, start: Start
) -> None:
    worker = start(clean_broker, ollama.url, concurrency=1, lanes=ALL_LANES).wait_ready()
    endless = {"model": CHAT_MODEL, "messages": HELLO, "options": {"num_predict": 100_000, "temperature": 2}}
    for stream in (False, True):
        asked = front.ask("/api/chat", {**endless, "stream": stream})
        eventually(lambda: worker.status()["in_flight"], "the request to be at Ollama")
        if stream:
            assert isinstance(front.next(), AnswerPiece)
        front.cancel(asked)
        eventually(lambda: not worker.status()["in_flight"], "the end of the request", 60)
        while not front.waits_for_nothing:
            pass
        # Ollama has room for the next one.
        front.ask("/api/chat", {**CHAT, "options": SHORT})
        assert front.answer()[0] == 200
    assert worker.status()["counters"]["outcome:requester_gone"] == 2


def test_carried_request_cancelled_while_it_waits_never_starts(
    front: Front, clean_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    scripted.behave = slow = Slow(60)
    worker = start(clean_broker, scripted.url, concurrency=1).wait_ready()
    front.ask("/api/chat", CHAT)
    slow.wait_for(1)
    waiting = [front.ask("/api/chat", {**CHAT, "x": number}) for number in range(5)]
    for asked in waiting:
        front.cancel(asked)
    front.ask("/api/chat", {**CHAT, "x": "last"})
    slow.go_on.set()
    answers = [front.answer(), front.answer()]
    assert [status for status, *_rest in answers] == [200, 200]
    eventually(lambda: worker.status()["counters"].get("outcome:requester_gone") == 5, "five that were not begun")
    assert [body.get("x") for _path, body in scripted.calls] == [None, "last"]


def test_carried_stream_arrives_while_ollama_works(
    front: Front, clean_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    step = threading.Semaphore(0)

    def lines() -> Iterator[dict[str, Any]]:
        for word in ("one", "two"):
            yield {"message": {"content": word}, "done": False}
            assert step.acquire(timeout=60)
        yield {"message": {"content": ""}, "done": True, "prompt_eval_count": 3, "eval_count": 2}

    scripted.behave = lambda _path, _body: (200, lines())
    start(clean_broker, scripted.url).wait_ready()
    front.ask("/api/chat", {"model": CHAT_MODEL, "messages": HELLO})
    first = front.next()
    assert isinstance(first, AnswerPiece) and b"one" in first.body
    step.release()
    second = front.next()
    assert isinstance(second, AnswerPiece) and b"two" in second.body and second.attempt == first.attempt
    step.release()
    third, ending = front.next(), front.next()
    assert isinstance(third, AnswerPiece) and isinstance(ending, Ending)
    assert (ending.input_tokens, ending.output_tokens, ending.pieces) == (3, 2, 3)


def test_carried_stream_that_breaks_ends_with_an_error_after_its_pieces(
    front: Front, clean_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    def lines() -> Iterator[dict[str, Any]]:
        yield {"message": {"content": "one"}, "done": False}
        raise ConnectionError

    scripted.behave = lambda _path, _body: (200, lines())
    start(clean_broker, scripted.url).wait_ready()
    front.ask("/api/chat", {"model": CHAT_MODEL, "messages": HELLO})
    first, ending = front.next(), front.next()
    assert isinstance(first, AnswerPiece) and isinstance(ending, Ending)
    assert ending.failure is not None and ending.failure.code == "inference_failed"
    assert (ending.attempt, ending.pieces or 1) == (first.attempt, 1)
    assert len(scripted.calls) == 1


@pytest.mark.parametrize(
    "path, body, code",
    [
        ("/api/pull", CHAT, "unsupported_type"),
        ("/api/chat", {**CHAT, "model": "another"}, "model_not_loaded"),
        ("/api/chat", b"no JSON", "unsupported_type"),
        ("/v1/messages", {**CHAT, "tools": [{"type": "web_search_20250305"}]}, "unsupported_type"),
    ],
)
def test_carried_request_that_must_not_be_served_never_reaches_ollama(
    front: Front, clean_broker: Any, scripted: ScriptedOllama, start: Start, path: str, body: Any, code: str
) -> None:
    start(clean_broker, scripted.url).wait_ready()
    front.ask(path, body)
    ending = front.next()
    assert isinstance(ending, Ending) and ending.failure is not None
    assert ending.failure.code == code
    assert scripted.calls == []
