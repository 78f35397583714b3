# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama asked from the I/O thread: what is asked from there, and what is left to a thread."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Callable, Optional

import pytest
from fleet_worker._fleet.carried import CarriedAnswer, CarriedRequest
from fleet_worker._fleet.messages import Failure, Request, Success
from fleet_worker._http.response_parser import ResponseParser
from fleet_worker._ollama.api_errors import CallCancelledError, ConnectionLostError
from fleet_worker._ollama.transport import HttpRequest
from fleet_worker.domain.verdicts import Verdict
from fleet_worker.inference.async_inference import AsyncInference
from fleet_worker.inference.task import Task

from .scripted import Script, Watch, availability, said
from .tasks import task_of

CHAT = Request("chat", "chat", "m:1", {"model": "m:1", "messages": [{"role": "user", "content": "Hello"}]})
ANSWER = b'{"model": "m:1", "message": {"role": "assistant", "content": "Hi"}, "done": true, "eval_count": 2}'


class Http:
    """Takes requests; the test answers them."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses
        self.requests: list[HttpRequest] = []
        self.on_result: Callable[[Any], None] = lambda _result: None
        self.cancelled = 0

    def ask(self, request: HttpRequest, seconds: float, on_result: Callable[[Any], None]) -> Any:
        if self.refuses:
            raise ValueError("a header has a line break in it")
        self.requests.append(request)
        self.on_result = on_result
        return SimpleNamespace(cancel=self._cancel)

    def _cancel(self) -> None:
        self.cancelled += 1


class Desk:
    def __init__(self, http: Optional[Http] = None) -> None:
        self.http = http or Http()
        self.script = Script(said({}))
        self.inference = AsyncInference(self.http, self.script.client, availability(Watch()))  # type: ignore[arg-type]
        self.conclusions: list[Any] = []

    def begin(self, request: Request = CHAT, task: Optional[Task] = None) -> bool:
        return self.inference.begin(task or task_of(), request, lambda conclude: self.conclusions.append(conclude()))

    def answer(self, content: bytes, *, status: str = "200 OK", fields: str = "") -> Any:
        response = ResponseParser()
        assert response.feed(f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        return self.tell(response)

    def tell(self, result: Any) -> Any:
        self.http.on_result(result)
        return self.conclusions.pop()


def test_begin_asks_once_and_concludes_with_the_answer() -> None:
    desk = Desk()
    assert desk.begin()
    conclusion = desk.answer(ANSWER)
    assert isinstance(conclusion, Success)
    assert conclusion.result["message"]["content"] == "Hi"
    assert [request.path for request in desk.http.requests] == ["/api/chat"]
    assert not desk.script.requests, "the client itself asks nothing"


def test_begin_with_a_runner_that_ended_is_for_a_thread() -> None:
    task = task_of()
    task.tries.runner_ended = True
    assert not Desk().begin(task=task)


@pytest.mark.parametrize(
    "arguments",
    [
        {**CHAT.arguments, "think": True},  # the server has to be asked whether it knows that
        {**CHAT.arguments, "messages": float("nan")},  # cannot be sent
    ],
)
def test_begin_with_a_request_that_needs_more_is_for_a_thread(arguments: dict[str, Any]) -> None:
    desk = Desk()
    assert not desk.begin(Request("chat", "chat", "m:1", arguments))
    assert not desk.http.requests


def test_begin_with_headers_that_cannot_be_sent_is_for_a_thread() -> None:
    assert not Desk(Http(refuses=True)).begin()


def test_begin_has_the_cancel_token_end_the_call() -> None:
    desk, task = Desk(), task_of()
    assert desk.begin(task=task)
    task.stop.abandon()
    assert desk.http.cancelled == 1
    assert desk.tell(CallCancelledError("cancelled")) is Verdict.ACK


def test_conclusion_of_a_lost_connection_is_for_a_thread() -> None:
    desk = Desk()
    assert desk.begin()
    assert desk.tell(ConnectionLostError("cut")) is None


def test_conclusion_of_a_missing_model_is_for_a_thread() -> None:
    """The thread asks Ollama for its models, so that the lane is paused before the request returns to its queue."""
    desk = Desk()
    assert desk.begin()
    assert desk.answer(b'{"error": "model \'m:1\' not found"}', status="404 Not Found") is None


def test_conclusion_undecodable_compressed_answer_is_a_failure() -> None:
    desk = Desk()
    assert desk.begin()
    conclusion = desk.answer(b"{}", fields="Content-Encoding: gzip\r\n")
    assert isinstance(conclusion, Failure)
    assert "gzip" in conclusion.message


def carried(path: str = "/v1/embeddings", *, stream: bool = False, texts: int = 1) -> Request:
    document = {"model": "m:1", "input": ["a"] * texts}
    request = CarriedRequest(path, b'{"model": "m:1", "input": "a"}', document, stream)
    return Request("embed", "embed", "m:1", {}, carried=request)


def test_begin_with_a_carried_request_sends_its_bytes_and_takes_any_answer() -> None:
    desk = Desk()
    assert desk.begin(carried())
    assert desk.http.requests[0].body == b'{"model": "m:1", "input": "a"}'
    conclusion = desk.answer(b'{"usage": {"prompt_tokens": 3}}')
    assert isinstance(conclusion, Success) and isinstance(conclusion.result, CarriedAnswer)
    assert conclusion.result.body == b'{"usage": {"prompt_tokens": 3}}'


@pytest.mark.parametrize("request_", [carried(stream=True), carried(texts=100)])
def test_begin_with_a_carried_request_whose_answer_may_be_large_is_for_a_thread(request_: Request) -> None:
    assert not Desk().begin(request_)


def test_conclusion_of_a_carried_request_that_ollama_refuses_has_its_words() -> None:
    desk = Desk()
    assert desk.begin(carried())
    conclusion = desk.answer(b'{"error": {"message": "bad input"}}', status="400 Bad Request")
    assert isinstance(conclusion, Failure) and conclusion.said is not None
    assert (conclusion.said.status, conclusion.said.body) == (400, b'{"error": {"message": "bad input"}}')
