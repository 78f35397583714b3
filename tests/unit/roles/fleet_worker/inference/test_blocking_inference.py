# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama asked from a thread that may wait."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fleet_worker._fleet.messages import Failure, Request, Success
from fleet_worker._ollama.api_errors import (
    CallCancelledError,
    ConnectionLostError,
    ServerUnreachableError,
    UnexpectedAnswerError,
)
from fleet_worker._ollama.calls import Call
from fleet_worker.domain.verdicts import Verdict
from fleet_worker.inference import blocking_inference
from fleet_worker.inference.blocking_inference import BlockingInference
from fleet_worker.inference.task import Task
from fleet_worker.inference.tries import RUNNER_PAUSE, Later

from .scripted import Answer, Script, Step, Watch, availability, said
from .tasks import task_of

CHAT = Request("chat", "chat", "m:1", {"model": "m:1", "messages": [{"role": "user", "content": "Hello"}]})
ANSWER = {"model": "m:1", "message": {"role": "assistant", "content": "Good morning."}, "done": True, "eval_count": 2}


def line(content: str, **more: Any) -> bytes:
    return json.dumps({"message": {"role": "assistant", "content": content}, "done": False, **more}).encode() + b"\n"


DONE = line("", done=True, eval_count=2, done_reason="stop")


def infer(*steps: Step, task: Task, watch: Watch, patience: float = 30.0) -> tuple[Any, Script]:
    script = Script(*steps)
    return BlockingInference(script.client, availability(watch, patience)).infer(task, CHAT), script


def wants_deltas(task: Task) -> list[str]:
    """Have a task ask for deltas; return what is added."""
    added: list[str] = []
    task.deltas.use(lambda _delta: None)
    task.deltas.add = lambda event: added.append(event.text)  # type: ignore[method-assign]
    return added


def test_infer_returns_the_answer() -> None:
    conclusion, script = infer(said(ANSWER), task=task_of(), watch=Watch())
    assert isinstance(conclusion, Success)
    assert conclusion.result == ANSWER
    assert conclusion.started > 1e9 and conclusion.seconds >= 0
    assert script.bodies == [{**CHAT.arguments, "stream": False}]


def test_infer_gives_ollama_what_is_left_of_the_deadline() -> None:
    task = task_of(headers={"x-legion-fleet-deadline": 1})  # long ago
    _conclusion, script = infer(said(ANSWER), task=task, watch=Watch())
    assert 0 < (script.calls[0].total_timeout or 0) < 1


def test_infer_with_an_ollama_that_comes_up_is_answered() -> None:
    watch = Watch(True)
    conclusion, script = infer(ServerUnreachableError("down"), said(ANSWER), task=task_of(), watch=watch)
    assert isinstance(conclusion, Success)
    assert len(script.requests) == 2 and len(watch.suspected) == 1


def test_infer_with_an_ollama_that_stays_down_goes_to_another_node_then_fails() -> None:
    down = ServerUnreachableError("down")
    assert infer(down, task=task_of(), watch=Watch(), patience=1.0)[0] is Verdict.REQUEUE
    conclusion, _script = infer(down, task=task_of(count=1), watch=Watch(), patience=1.0)
    assert isinstance(conclusion, Failure) and conclusion.code == "ollama_unavailable"


@pytest.mark.parametrize("abandoned, verdict", [(False, Verdict.REQUEUE), (True, Verdict.ACK)])
@pytest.mark.parametrize("error", [ServerUnreachableError("down"), CallCancelledError("The call was cancelled")])
def test_infer_stopped_meanwhile_gives_the_request_back_if_anybody_wants_it(
    abandoned: bool, verdict: Verdict, error: Exception
) -> None:
    task = task_of()

    def stopped() -> Answer:
        task.stop.abandon() if abandoned else task.stop.stop()
        raise error

    assert infer(stopped, task=task, watch=Watch())[0] is verdict


def test_infer_stopped_before_asks_nothing() -> None:
    task = task_of()
    task.stop.stop()
    conclusion, script = infer(said(ANSWER), task=task, watch=Watch())
    assert conclusion is Verdict.REQUEUE
    assert not script.requests or script.calls[0].cancelled


def test_infer_with_an_error_of_ollama_concludes_with_it() -> None:
    conclusion, _script = infer(said({"error": "server busy"}, 503), task=task_of(), watch=Watch())
    assert isinstance(conclusion, Later)


def test_infer_after_a_runner_ended_waits_a_moment_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(blocking_inference.time, "sleep", pauses.append)
    task = task_of()
    task.tries.runner_ended = True
    assert isinstance(infer(said(ANSWER), task=task, watch=Watch())[0], Success)
    assert pauses == [RUNNER_PAUSE]


def test_infer_with_deltas_passes_the_pieces_on_and_returns_the_whole() -> None:
    task = task_of()
    added = wants_deltas(task)
    stream = Answer(line("Good "), line("morning."), DONE, content_type="application/x-ndjson")
    conclusion, script = infer(stream, task=task, watch=Watch())
    assert isinstance(conclusion, Success)
    assert conclusion.result["message"]["content"] == "Good morning."
    assert added == ["Good ", "morning."]
    assert script.bodies[0]["stream"] is True


def test_infer_with_a_stream_that_breaks_starts_over() -> None:
    task = task_of()
    added = wants_deltas(task)
    broken = Answer(line("Good "), ConnectionLostError("cut"), content_type="application/x-ndjson")
    whole = Answer(line("Good "), line("evening."), DONE, content_type="application/x-ndjson")
    conclusion, _script = infer(broken, whole, task=task, watch=Watch(True))
    assert isinstance(conclusion, Success)
    assert conclusion.result["message"]["content"] == "Good evening."
    assert added == ["Good ", "Good ", "evening."]


def test_infer_with_a_stream_that_ends_early_fails() -> None:
    task = task_of()
    wants_deltas(task)
    conclusion, _script = infer(Answer(line("Good "), content_type="application/x-ndjson"), task=task, watch=Watch())
    assert isinstance(conclusion, Failure)
    assert conclusion.message == "Ollama ended its answer before it was complete"


def test_answer_checks_what_ollama_says() -> None:
    inference = BlockingInference(Script(said({"embeddings": [[1.0]]})).client, availability(Watch()))
    assert inference.answer("embed", {"model": "m", "input": "a"}, Call())["embeddings"] == [[1.0]]
    with pytest.raises(UnexpectedAnswerError, match="embeddings for 2 texts"):
        inference.answer("embed", {"model": "m", "input": ["a", "b"]}, Call())
