# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama stops, comes back, breaks connections, or stays away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from fleet_parts import CHAT_MODEL, EMBED_MODEL, ScriptedOllama, Slow, WorkerProcess, answer, eventually
from fleet_worker._fleet.lanes import lane

from .requesters import Asker

CHAT = lane("chat", CHAT_MODEL).queue
Start = Callable[..., WorkerProcess]


@pytest.fixture
def second() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as ollama:
        yield ollama


def test_request_waits_for_an_ollama_that_restarts(shared_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    worker = start(shared_broker, scripted.url).wait_ready()
    asker = Asker(shared_broker, CHAT)
    scripted.stop()
    asker.ask()
    worker.wait_log("event=ollama_down")
    eventually(lambda: all(one["state"] == "paused" for one in worker.status()["lanes"]), "lanes are paused")
    scripted.start()
    asker.wait()
    properties, body = asker.only()
    assert body["message"]["content"] == "Good morning."
    assert "x-legion-fleet-redelivered" not in properties.headers, "it was held, not given back"
    eventually(lambda: all(one["state"] != "paused" for one in worker.status()["lanes"]), "lanes are consumed again")


def test_request_goes_to_another_node_if_ollama_stays_down(
    shared_broker: Any, scripted: ScriptedOllama, second: ScriptedOllama, start: Start
) -> None:
    slow = scripted.behave = Slow(60)
    start(shared_broker, scripted.url, ollama={"patience": 2}).wait_ready()
    asker = Asker(shared_broker, CHAT)
    asker.ask()
    slow.wait_for()
    start(shared_broker, second.url).wait_ready()
    scripted.behave = lambda _path, _body: None
    scripted.stop()
    slow.go_on.set()
    scripted.stop()
    asker.wait()
    assert asker.only()[1]["message"]["content"] == "Good morning."


def test_request_that_was_returned_before_is_answered_with_the_reason(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    """The only node requeues the request once, gets it again when Ollama seems up, and then answers with an error."""
    scripted.behave = lambda _path, _body: None  # up for those who look, and breaks every inference
    start(shared_broker, scripted.url, ollama={"patience": 1}).wait_ready()
    asker = Asker(shared_broker, CHAT, errors=["ollama_unavailable"])
    asker.ask()
    asker.wait(within=60)
    properties, body = asker.only()
    assert (body["error"]["code"], body["error"]["retriable"]) == ("ollama_unavailable", True)
    assert properties.type == "llm.fleet.error"


def test_request_with_a_broken_connection_is_tried_again(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    broken: list[int] = []

    def once(path: str, body: dict[str, Any]) -> Any:
        if not broken:
            broken.append(1)
            return None
        return answer(path, body)

    scripted.behave = once
    start(shared_broker, scripted.url).wait_ready()
    asker = Asker(shared_broker, CHAT)
    asker.ask()
    asker.wait()
    assert asker.only()[1]["message"]["content"] == "Good morning."


def test_drain_does_not_wait_for_an_ollama_that_is_down(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    worker = start(shared_broker, scripted.url, drain_timeout=3, ollama={"patience": 600}).wait_ready()
    asker = Asker(shared_broker, CHAT)
    scripted.stop()
    asker.record.give_up(asker.ask())
    worker.wait_log("event=ollama_down")
    began = time.monotonic()
    worker.terminate()
    assert worker.wait_end(60) == 0
    assert time.monotonic() - began < 30


def test_model_that_cannot_run_is_paused(
    shared_broker: Any, scripted: ScriptedOllama, second: ScriptedOllama, start: Start
) -> None:
    """The worker pauses the model's lanes, each time longer, and serves the other lanes."""

    def too_large(path: str, body: dict[str, Any]) -> Any:
        if body["model"] == CHAT_MODEL:
            return 500, {"error": "model requires more system memory (80.0 GiB) than is available (3.1 GiB)"}
        return answer(path, body)

    scripted.behave = too_large
    settings = {"failures": 2, "pause": 5, "longest": 60}
    worker = start(shared_broker, scripted.url, concurrency=1, broken_model=settings).wait_ready()
    asker = Asker(shared_broker, CHAT, errors=["inference_failed"])
    asker.ask()
    asker.ask()
    asker.wait()
    assert {body["error"]["code"] for ((_properties, body),) in asker.answers.values()} == {"inference_failed"}
    state = eventually(lambda: _degraded(worker), "the lane is degraded", 10, worker)
    assert "requires more system memory" in state["reason"]
    assert "pause=5" in worker.wait_log("event=model_broken")
    # Another node has it while the first leaves it alone.
    waiting = asker.ask()
    embeddings = Asker(shared_broker, lane("embed", EMBED_MODEL).queue)
    embeddings.ask(input="x")
    embeddings.wait()
    other = start(shared_broker, second.url).wait_ready()
    asker.wait()
    if "error" in asker.answers[waiting][0][1]:
        # The first had tried it again before the other one was there.
        assert worker.log.count("event=model_broken") >= 2
    other.terminate()
    other.wait_end()
    # Mended: it is trusted again.
    scripted.behave = answer
    asker.ask()
    asker.wait(within=60)
    eventually(lambda: not _degraded(worker), "served again", 30, worker)


def _degraded(worker: WorkerProcess) -> Any:
    return next((one for one in worker.status()["lanes"] if one["state"] == "degraded"), None)


def test_answer_that_breaks_off_is_an_error_and_the_next_request_is_answered(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    """Ollama's runner was killed, for example by the kernel: the answer ends early."""
    outcomes = [
        (500, {"error": "llama runner process has terminated: signal: killed"}),
        (200, {"message": {"role": "assistant", "content": "Good"}, "done": False}),
    ]
    scripted.behave = lambda path, body: outcomes.pop(0) if outcomes else answer(path, body)
    worker = start(shared_broker, scripted.url, concurrency=1).wait_ready()
    for _number in range(2):
        asker = Asker(shared_broker, CHAT, errors=["inference_failed"])
        asker.ask()
        asker.wait()
        _properties, body = asker.only()
        assert (body["error"]["code"], body["error"]["retriable"]) == ("inference_failed", True)
    asker = Asker(shared_broker, CHAT)
    asker.ask()
    asker.wait()
    assert asker.only()[1]["message"]["content"] == "Good morning."
    assert worker.status()["counters"]["outcome:inference_failed"] == 2


def test_model_deleted_while_requests_wait_fails_none_of_them(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    """Requests already taken return to the queue, and all of them wait for a node that has the model."""
    slow = Slow(60)

    def behave(path: str, body: dict[str, Any]) -> Any:
        slow(path, body)
        return (
            answer(path, body) if CHAT_MODEL in scripted.models else (404, {"error": f"model '{CHAT_MODEL}' not found"})
        )

    scripted.behave = behave
    worker = start(shared_broker, scripted.url, concurrency=1, ollama={"interval": 0.3}).wait_ready()
    asker = Asker(shared_broker, CHAT)
    asker.ask()
    slow.wait_for()
    for _number in range(4):
        asker.ask()
    scripted.models = [EMBED_MODEL]
    eventually(lambda: any("does not have" in one["reason"] for one in worker.status()["lanes"]), "paused", 20, worker)
    slow.go_on.set()
    worker.wait_log("outcome=given_back", 20)
    scripted.models = [CHAT_MODEL, EMBED_MODEL]
    asker.wait()
    assert all(len(answers) == 1 for answers in asker.answers.values())
    assert all("message" in body for ((_properties, body),) in asker.answers.values())
