# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a request that is begun on the I/O thread: the same as in a thread, or it is left to one."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, Callable, Optional

import pytest
from fleet_worker._fleet.dialects.base import Worker
from fleet_worker._ollama.api_errors import (
    CallCancelledError,
    ConnectionLostError,
    DeadlineExceededError,
    ServerUnreachableError,
    UnexpectedAnswerError,
)
from fleet_worker._ollama.client import OllamaClient
from fleet_worker._ollama.transport import HttpRequest
from fleet_worker.responses import Response
from fleet_worker.serving import Served, Server, Stop, Terms, Verdict
from fleet_worker.streaming import Deltas

from .deliveries import delivery, served_lane

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
ANSWER = {"model": "m:1", "message": {"role": "assistant", "content": "Good morning."}, "done": True, "eval_count": 2}


class Asker:
    """Takes questions, and tells what a test wants to have told."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.seconds = 0.0
        self.told: Callable[[Any], None] = lambda _told: None
        self.cancelled = 0

    def ask(self, request: HttpRequest, seconds: float, told: Callable[[Any], None]) -> Any:
        self.requests.append(request)
        self.seconds, self.told = seconds, told
        return SimpleNamespace(cancel=self.cancel)

    def cancel(self) -> None:
        self.cancelled += 1


class Desk:
    """A server, and what it has said of the last request; nothing yet, None for a thread, or what became of it."""

    def __init__(self) -> None:
        self.asker = Asker()
        self.stop = Stop()
        self.ended: list[Optional[Served]] = []
        client = OllamaClient("127.0.0.1:1", retries=0, connect_timeout=1)
        terms = Terms(Worker("gpu-01"), ("llm.fleet.reply.*",), 10_000, 1000, 0.0, False)
        self.server = Server(terms, client, SimpleNamespace(suspect=lambda _reason: None), self.asker)  # type: ignore[arg-type]

    def begin(self, body: Any = None, **options: Any) -> bool:
        return self.server.begin(delivery(CHAT if body is None else body, **options), self.stop, self.ended.append)

    def answer(self, document: Any, status: str = "200 OK") -> Optional[Served]:
        content = json.dumps(document).encode()
        response = Response()
        assert response.feed(f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        return self.tell(response)

    def tell(self, told: Any) -> Optional[Served]:
        self.asker.told(told)
        (served,) = self.ended
        return served


@pytest.fixture
def desk() -> Desk:
    return Desk()


def reply(served: Optional[Served]) -> Any:
    assert served is not None and served.reply is not None
    return json.loads(served.reply.message.body)


def test_a_request_is_asked_and_answered(desk: Desk) -> None:
    assert desk.begin()
    (request,) = desk.asker.requests
    assert (request.method, request.path) == ("POST", "/api/chat")
    assert json.loads(request.body) == {"model": "m:1", **CHAT, "stream": False}  # type: ignore[arg-type]
    assert 0 < desk.asker.seconds <= served_lane().deadline
    served = desk.answer(ANSWER)
    assert served is not None
    assert (served.verdict, served.outcome) == (Verdict.ACK, "answered")
    assert served.fields["output_tokens"] == 2
    assert reply(served)["message"]["content"] == "Good morning."


@pytest.mark.parametrize(
    "body, options",
    [
        (b"not JSON", {}),
        ({**CHAT, "stream": True}, {}),  # refused
        (CHAT, {"headers": {"x-legion-llm-stream": "delta"}}),
        ({**CHAT, "think": True}, {}),  # the server has to be asked whether it knows that
        (CHAT, {"type": "llm.fleet.response"}),
        (CHAT, {"reply_to": "llm.request.ollama.chat.m.1"}),
        (CHAT, {"count": 1000}),  # the last delivery
        (CHAT, {"headers": {"x-legion-fleet-deadline": 1}}),  # expired
        ({"messages": [float("inf")]}, {}),
    ],
)
def test_whatever_takes_more_is_left_to_a_thread(desk: Desk, body: Any, options: Any) -> None:
    assert not desk.begin(body, **options)
    assert not desk.asker.requests and not desk.ended
    # Which has something to say to it.
    done = desk.server.serve(delivery(body, **options), desk.stop, Deltas(None, None, None))  # type: ignore[arg-type]
    assert done.outcome != "answered"


def test_without_an_asker_everything_is_left_to_threads(desk: Desk) -> None:
    desk.server._asker = None
    assert not desk.begin()


@pytest.mark.parametrize(
    "error", [ServerUnreachableError("nobody"), ConnectionLostError("cut")], ids=lambda error: type(error).__name__
)
def test_an_ollama_that_is_down_is_left_to_a_thread(desk: Desk, error: Exception) -> None:
    assert desk.begin()
    assert desk.tell(error) is None


def test_an_ollama_that_is_busy_is_left_to_a_thread(desk: Desk) -> None:
    assert desk.begin()
    assert desk.answer({"error": "server busy"}, "503 Service Unavailable") is None


@pytest.mark.parametrize(
    "document, status, outcome, broken",
    [
        ({"error": "model 'm:1' not found"}, "404 Not Found", "model_not_loaded", False),
        ({"error": "bad options"}, "400 Bad Request", "inference_failed", False),
        ({"error": "llama runner process has terminated"}, "500 Internal Server Error", "inference_failed", True),
        ({**ANSWER, "done": False}, "200 OK", "inference_failed", True),
        ([], "200 OK", "inference_failed", False),
        ({**ANSWER, "message": {"content": "x" * 2000}}, "200 OK", "payload_too_large", False),
    ],
)
def test_what_ollama_has_against_it_is_told(desk: Desk, document: Any, status: str, outcome: str, broken: bool) -> None:
    assert desk.begin()
    served = desk.answer(document, status)
    assert served is not None
    assert (served.verdict, served.outcome, bool(served.broken)) == (Verdict.ACK, outcome, broken)
    assert reply(served)["error"]["code"] == outcome


@pytest.mark.parametrize(
    "error, outcome",
    [
        (DeadlineExceededError("too late", timeout=1.0), "inference_timeout"),
        (UnexpectedAnswerError("SSH"), "inference_failed"),
    ],
)
def test_what_goes_wrong_is_told(desk: Desk, error: Exception, outcome: str) -> None:
    assert desk.begin()
    served = desk.tell(error)
    assert served is not None
    assert served.outcome == outcome


def test_who_is_stopped_gives_the_request_back(desk: Desk) -> None:
    assert desk.begin()
    desk.stop.stop()
    assert desk.asker.cancelled == 1
    served = desk.tell(CallCancelledError("cancelled"))
    assert served is not None
    assert (served.verdict, served.outcome, served.reply) == (Verdict.REQUEUE, "given_back", None)


def test_who_was_stopped_before_is_stopped_at_once(desk: Desk) -> None:
    desk.stop.stop()
    assert desk.begin()
    assert desk.asker.cancelled == 1


def test_a_defect_costs_one_request_and_not_the_thread(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.begin()

    def broken(*_arguments: Any) -> Any:
        raise LookupError("a defect")

    monkeypatch.setattr(desk.server, "_concluded", broken)
    served = desk.answer(ANSWER)
    assert served is not None
    assert (served.verdict, served.outcome) == (Verdict.REJECT, "defect")


def test_a_compressed_answer_that_is_none_is_told(desk: Desk) -> None:
    assert desk.begin()
    response = Response()
    response.feed(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")
    served = desk.tell(response)
    assert served is not None
    assert served.outcome == "inference_failed"
