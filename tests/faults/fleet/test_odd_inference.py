# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests at which Ollama fails, and invalid answers of Ollama: each fails its own request only."""

from __future__ import annotations

import threading
from typing import Any, Callable

import pytest
from fleet_parts import CHAT_MODEL, EMBED_MODEL, ScriptedOllama, WorkerProcess, answer, eventually
from fleet_worker._fleet.lanes import lane

from .requesters import Asker

CHAT = lane("chat", CHAT_MODEL).queue
EMBED = lane("embed", EMBED_MODEL).queue
Start = Callable[..., WorkerProcess]

STREAMED = {"x-legion-llm-stream": "delta"}


def errors(asker: Asker) -> list[dict[str, Any]]:
    """Return the errors that a requester got, in the order of its requests."""
    return [asker.answers[asked][-1][1]["error"] for asked in asker.asked]


@pytest.mark.parametrize("headers", [{}, STREAMED], ids=["whole", "streamed"])
def test_worker_with_requests_that_ollama_fails_pauses_no_lane(
    lent_broker: Any, scripted: ScriptedOllama, start: Start, headers: Any
) -> None:
    """Some fail by a fault of the request, others for an unknown reason."""

    def behave(path: str, body: dict[str, Any]) -> Any:
        text = body["messages"][0]["content"]
        if text == "known":
            return 500, {"error": 'invalid format: "yaml"; expected "json" or a valid JSON Schema object'}
        if text == "unknown":
            return 500, {"error": "something that no version of Ollama has said yet"}
        return answer(path, body)

    scripted.behave = behave
    worker = start(lent_broker, scripted.url, broken_model={"failures": 2, "pause": 600, "longest": 600}).wait_ready()
    asker = Asker(lent_broker, CHAT, headers=headers, errors=["inference_failed"])
    for kind in ["known"] * 4 + ["unknown"] * 4:
        asker.ask(messages=[{"role": "user", "content": kind}])
    asker.wait()
    assert [error["retriable"] for error in errors(asker)] == [False] * 4 + [True] * 4
    eventually(lambda: worker.status()["counters"].get("probes"), "a probe", 30, worker)
    assert "probe=runs" in worker.wait_log("event=model_not_given_up")
    honest = Asker(lent_broker, CHAT)
    honest.ask()
    honest.wait()
    assert honest.only()[1]["message"]["content"] == "Good morning."
    assert "model_pauses" not in worker.status()["counters"]


class Runner:
    """The process that runs a model; a request that ends it fails all of its requests."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.generation = 0
        self.inside = 0

    def __call__(self, path: str, body: dict[str, Any]) -> Any:
        text = body["messages"][0]["content"]
        with self.lock:
            born = self.generation
            self.inside += 1
            self.lock.notify_all()
            try:
                if text == "end":
                    # The first time not alone, to have a victim.
                    self.lock.wait_for(lambda: born > 0 or self.inside > 1, 30)
                    self.generation += 1
                    self.lock.notify_all()
                elif born == 0:
                    self.lock.wait_for(lambda: self.generation > born, 30)
                if self.generation > born:
                    return 500, {"error": "an error was encountered while running the model: unexpected EOF"}
            finally:
                self.inside -= 1
        return answer(path, body)


def test_worker_whose_runner_ends_answers_the_victim_and_refuses_the_culprit(
    lent_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    runner = scripted.behave = Runner()
    worker = start(lent_broker, scripted.url, concurrency=2).wait_ready()
    victim, culprit = Asker(lent_broker, CHAT), Asker(lent_broker, CHAT, errors=["inference_failed"])
    victim.ask()
    culprit.ask(messages=[{"role": "user", "content": "end"}])
    culprit.wait()
    victim.wait()
    assert victim.only()[1]["message"]["content"] == "Good morning."
    (error,) = errors(culprit)
    assert (error["code"], error["retriable"]) == ("inference_failed", False)
    assert worker.status()["counters"]["tried_alone"] == 2
    assert runner.generation == 2


def test_worker_with_a_busy_ollama_serves_another_model_meanwhile(
    lent_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    busy = threading.Event()
    busy.set()

    def behave(path: str, body: dict[str, Any]) -> Any:
        if body["model"] == CHAT_MODEL and busy.is_set():
            return 503, {"error": "server busy, please try again.  maximum pending requests exceeded"}
        return answer(path, body)

    scripted.behave = behave
    worker = start(lent_broker, scripted.url, concurrency=2, ollama={"patience": 600}).wait_ready()
    chats, embeddings = Asker(lent_broker, CHAT), Asker(lent_broker, EMBED)
    for _number in range(2):
        chats.ask()
    eventually(lambda: worker.status()["counters"].get("busy", 0) >= 2, "both wait", 30, worker)
    embeddings.ask(input="x")
    embeddings.wait()
    assert "embeddings" in embeddings.only()[1]
    assert not chats.answers
    state = next(one for one in worker.status()["lanes"] if one["queue"] == CHAT)
    assert "Ollama is busy" in state["reason"]
    busy.clear()
    chats.wait()
    assert all(body["message"]["content"] for ((_properties, body),) in chats.answers.values())
    eventually(lambda: not any(one["reason"] for one in worker.status()["lanes"]), "taken again", 30, worker)
    assert "outcome:given_back" not in worker.status()["counters"]


def test_worker_that_drains_returns_requests_that_wait_for_a_busy_ollama(
    lent_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    scripted.behave = lambda _path, _body: (503, {"error": "server busy"})
    worker = start(lent_broker, scripted.url, ollama={"patience": 600}).wait_ready()
    asker = Asker(lent_broker, CHAT)
    asker.ask()
    eventually(lambda: worker.status()["counters"].get("busy"), "it waits", 30, worker)
    worker.terminate()
    assert worker.wait_end(60) == 0
    scripted.behave = answer
    start(lent_broker, scripted.url).wait_ready()
    asker.wait()
    properties, body = asker.only()
    assert body["message"]["content"] == "Good morning."
    assert properties.headers["x-legion-fleet-redelivered"]


ODD_ANSWERS: list[Any] = [
    {"error": "something"},
    {"done": True},
    {"message": None, "done": True},
    {"message": {"role": "assistant", "content": ""}, "done": True},
    {"message": {"role": "assistant", "content": ["a", 1, None]}, "done": True},
    {"message": {"role": "assistant", "content": 7}, "done": True},
    {"message": {"role": "assistant", "content": "x", "tool_calls": "y"}, "done": True},
    {"message": {"role": "assistant", "content": "x"}, "done": True, "eval_count": float("nan")},
    {"message": {"role": "assistant", "content": "x"}, "done": True, "logprobs": [float("inf")]},
]


@pytest.mark.parametrize("headers", [{}, STREAMED], ids=["whole", "streamed"])
def test_worker_with_malformed_answers_of_ollama_answers_each_request(
    lent_broker: Any, scripted: ScriptedOllama, start: Start, headers: Any
) -> None:
    odd = list(ODD_ANSWERS)

    def behave(path: str, body: dict[str, Any]) -> Any:
        found = odd.pop(0) if odd else answer(path, body)[1]
        return 200, iter([found]) if body["stream"] else found

    scripted.behave = behave
    settings = {"failures": 100, "pause": 600, "longest": 600}
    worker = start(lent_broker, scripted.url, concurrency=1, broken_model=settings).wait_ready()
    for _odd in ODD_ANSWERS:
        asker = Asker(lent_broker, CHAT, headers=headers, errors=["inference_failed"])
        asker.ask()
        asker.wait()
        assert errors(asker)[0]["code"] == "inference_failed"
        asker.close()
    # Counts that are none are no reason to fail.
    for count in (-1, 10**400):
        good = {"message": {"role": "assistant", "content": "x"}, "done": True, "eval_count": count}
        odd.append(good)
        asker = Asker(lent_broker, CHAT, headers=headers)
        asker.ask()
        asker.wait()
        assert next(iter(asker.answers.values()))[-1][1]["tokens"]["output"] == 0
        asker.close()
    assert worker.status()["counters"]["connections"] == 1
    assert "event=defect" not in worker.log


def test_worker_with_half_a_surrogate_pair_in_a_prompt_answers_with_an_error(
    lent_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    worker = start(lent_broker, scripted.url).wait_ready()
    asker = Asker(lent_broker, CHAT, errors=["unsupported_type"])
    asker.ask(messages=[{"role": "user", "content": "half \ud800"}])
    asker.ask(tools=[{"function": {"\udfff": 1}}])
    asker.wait()
    assert {(error["code"], error["retriable"]) for error in errors(asker)} == {("unsupported_type", False)}
    assert scripted.calls == []
    assert "event=defect" not in worker.log
