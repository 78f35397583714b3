# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Embedding requests that wait together go to Ollama as one array, and each is answered with its own vectors."""

from __future__ import annotations

import json
import math
import uuid
from typing import Any, Callable, Optional

import pika
import pytest
from fleet_parts import EMBED_MODEL, ScriptedOllama, Slow, WorkerProcess, answer, channel_to, eventually
from fleet_worker._fleet.lanes import lane

EMBED = lane("embed", EMBED_MODEL).queue
LANES = [{"type": "embed", "model": EMBED_MODEL}]
Start = Callable[..., WorkerProcess]


class Crowd:
    """Many requesters at once, on one connection."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
        channel.queue_declare(self._reply_to)
        # A request that was asked is in its queue, so that the worker finds it there when its slot is free.
        channel.confirm_delivery()
        self.answers: dict[str, dict[str, Any]] = {}

    def ask(self, name: str, text: Any, **body: Any) -> None:
        content = json.dumps({"request_type": "embed", "input": text, **body}).encode()
        properties = pika.BasicProperties(
            type="llm.fleet.request", reply_to=self._reply_to, correlation_id=name, message_id=name
        )
        self.channel.basic_publish("llm.request", EMBED, content, properties, mandatory=True)

    def wait(self, number: int, within: float = 60.0) -> dict[str, dict[str, Any]]:
        eventually(lambda: self._collect() >= number, f"{number} answers", within)
        return self.answers

    def _collect(self) -> int:
        while True:
            method, properties, body = self.channel.basic_get(self._reply_to, auto_ack=True)
            if method is None:
                return len(self.answers)
            self.answers[properties.correlation_id] = json.loads(body)


@pytest.fixture
def crowd(clean_broker: Any) -> Any:
    with channel_to(clean_broker) as channel:
        yield Crowd(channel)


def sizes(ollama: ScriptedOllama) -> list[int]:
    return [len(body["input"]) if isinstance(body["input"], list) else 1 for _path, body in ollama.calls]


def number_of(path: str, body: dict[str, Any]) -> Any:
    """Answer each text, which is a number, with that number."""
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    if "bad" in texts:
        return 400, {"error": "the input length exceeds the context length"}
    return 200, {"model": body["model"], "embeddings": [[float(text)] for text in texts], "prompt_eval_count": 100}


def held_back(ollama: ScriptedOllama, then: Callable[..., Any]) -> Slow:
    """Make the first call slow, so that others gather behind it."""
    slow = Slow(60)

    def behave(path: str, body: dict[str, Any]) -> Any:
        if not slow.go_on.is_set():
            slow(path, body)
        return then(path, body)

    ollama.behave = behave
    return slow


def waiting_for(crowd: Crowd, ollama: ScriptedOllama, texts: list[Any], bodies: Optional[list[Any]] = None) -> None:
    slow = held_back(ollama, number_of)
    crowd.ask("first", "1")
    slow.wait_for()
    for index, text in enumerate(texts):
        crowd.ask(f"c-{index}", text, **(bodies[index] if bodies else {}))
    slow.go_on.set()


def test_requests_that_wait_together_share_a_call_and_get_their_own_vectors(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, crowd: Crowd
) -> None:
    start(clean_broker, scripted.url, lanes=LANES, concurrency=1).wait_ready()
    texts: list[Any] = [str(number) for number in range(10)]
    texts[3] = ["30", "31"]
    texts[7] = []
    waiting_for(crowd, scripted, texts)
    answers = crowd.wait(11)
    for index, text in enumerate(texts):
        expected = [[float(one)] for one in (text if isinstance(text, list) else [text])]
        assert answers[f"c-{index}"]["embeddings"] == expected
    assert sum(sizes(scripted)) == 11
    assert max(sizes(scripted)) >= 3
    # The tokens that Ollama has counted for a whole array are shared out.
    assert sum(one["tokens"]["input"] for one in answers.values()) == 100 * len(scripted.calls)


def test_batch_count_of_one_makes_single_calls(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, crowd: Crowd
) -> None:
    start(clean_broker, scripted.url, lanes=LANES, concurrency=1, embed_batch={"count": 1}).wait_ready()
    waiting_for(crowd, scripted, [str(number) for number in range(5)])
    crowd.wait(6)
    assert sizes(scripted) == [1] * 6


def test_batch_keeps_to_its_limit_of_bytes(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, crowd: Crowd
) -> None:
    start(clean_broker, scripted.url, lanes=LANES, concurrency=1, embed_batch={"bytes": 1024}).wait_ready()
    waiting_for(crowd, scripted, [f"{number}." + "0" * 398 for number in range(6)])
    answers = crowd.wait(7)
    assert max(sizes(scripted)) == 2
    assert [answers[f"c-{number}"]["embeddings"] for number in range(6)] == [[[float(number)]] for number in range(6)]


def test_batch_has_only_requests_with_equal_options(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, crowd: Crowd
) -> None:
    start(clean_broker, scripted.url, lanes=LANES, concurrency=1).wait_ready()
    waiting_for(
        crowd, scripted, [str(number) for number in range(8)], [{"truncate": number % 2 == 0} for number in range(8)]
    )
    crowd.wait(9)
    for _path, body in scripted.calls[1:]:
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        assert {int(text) % 2 == 0 for text in texts} == {body["truncate"]}


def test_request_that_cannot_be_embedded_fails_alone(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, crowd: Crowd
) -> None:
    start(clean_broker, scripted.url, lanes=LANES, concurrency=1).wait_ready()
    waiting_for(crowd, scripted, ["0", "1", "bad", "3", 4.5])
    answers = crowd.wait(6)
    assert [answers[f"c-{number}"].get("embeddings") for number in (0, 1, 3)] == [[[0.0]], [[1.0]], [[3.0]]]
    assert answers["c-2"]["error"]["code"] == "inference_failed"


def test_batch_at_the_end_of_a_drain_is_returned_to_the_queue(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, crowd: Crowd
) -> None:
    worker = start(clean_broker, scripted.url, lanes=LANES, concurrency=1, drain_timeout=1).wait_ready()
    begun = Slow(60)
    slow = held_back(scripted, begun)
    crowd.ask("first", "x")
    slow.wait_for()
    for number in range(5):
        crowd.ask(f"c-{number}", "x")
    slow.go_on.set()
    begun.wait_for()
    worker.terminate()
    assert worker.wait_end(20) == 0
    begun.go_on.set()
    scripted.behave = answer
    start(clean_broker, scripted.url, lanes=LANES).wait_ready()
    crowd.wait(6)


def test_batch_vectors_equal_those_of_single_calls(clean_broker: Any, ollama: Any, start: Start, crowd: Crowd) -> None:
    """Real MiniLM."""
    from fleet_worker._ollama.client import OllamaClient

    texts = [f"{word} number {number}" for number, word in enumerate(["apple", "river", "Mars", "jazz"] * 6)]
    with OllamaClient(ollama.url) as client:
        alone = [client.embed(model=EMBED_MODEL, input=text)["embeddings"][0] for text in texts]
    # They are there before the worker is: it answers faster than a busy machine asks.
    made = lane("embed", EMBED_MODEL)
    crowd.channel.queue_declare(made.queue, durable=True, arguments=made.arguments)
    crowd.channel.queue_bind(made.queue, "llm.request", made.queue)
    for number, text in enumerate(texts):
        crowd.ask(f"c-{number}", text)
    worker = start(clean_broker, ollama.url, lanes=LANES, concurrency=1, log={"level": "debug"}).wait_ready()
    answers = crowd.wait(len(texts), within=120)
    for number, expected in enumerate(alone):
        (vector,) = answers[f"c-{number}"]["embeddings"]
        assert math.sqrt(sum((a - b) ** 2 for a, b in zip(vector, expected))) < 1e-3
    assert worker.status()["counters"]["batched"] >= len(texts) / 2
