# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a request on the I/O thread: the same as in a pool thread, or left to a pool thread."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Callable, Optional, Union

import pytest
from fleet_worker._fleet.dialects import typed
from fleet_worker._fleet.dialects.base import ReplyIdentity
from fleet_worker._http.response_parser import ResponseParser
from fleet_worker._ollama.api_errors import (
    CallCancelledError,
    ConnectionLostError,
    DeadlineExceededError,
    ServerUnreachableError,
    UnexpectedAnswerError,
)
from fleet_worker._ollama.client import OllamaClient
from fleet_worker._ollama.transport import HttpRequest
from fleet_worker.domain.lane_terms import LaneTerms
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.inference.handler import HandlerSettings, RequestHandler
from fleet_worker.inference.tries import Later

from ..deliveries import delivery, lane_settings
from .scripted import Answer, Script
from .tasks import task_of

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
ANSWER = {"model": "m:1", "message": {"role": "assistant", "content": "Good morning."}, "done": True, "eval_count": 2}


class Http:
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
    """A handler, and what it has said of the last request; nothing yet, None for a thread, or the outcome."""

    def __init__(self, patience: float = 0.0) -> None:
        self.http = Http()
        self.ended: list[Union[Result, Later, None]] = []
        self.client = OllamaClient("127.0.0.1:1", retries=0, connect_timeout=1)
        self.health = SimpleNamespace(suspect=lambda _reason: None, wait=lambda _seconds: False)
        self.settings = HandlerSettings(
            ReplyIdentity("gpu-01"), ("llm.fleet.reply.*",), 10_000_000, 1000, patience, False
        )
        self.handler = RequestHandler(self.settings, self.client, self.health, self.http)  # type: ignore[arg-type]
        self.task = task_of(delivery(CHAT))

    def begin(self, body: Any = None, **options: Any) -> bool:
        self.task = task_of(delivery(CHAT if body is None else body, **options))
        return self.begin_again()

    def begin_again(self) -> bool:
        self.ended.clear()
        return self.handler.begin(self.task, self.ended.append)

    def serve(self, body: Any, **options: Any) -> Any:
        return self.handler.serve(task_of(delivery(body, **options)))

    def answer(self, document: Any, status: str = "200 OK") -> Any:
        return self.hear(json.dumps(document).encode(), status)

    def hear(self, content: bytes, status: str = "200 OK") -> Any:
        response = ResponseParser()
        assert response.feed(f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        return self.tell(response)

    def tell(self, told: Any) -> Any:
        self.http.told(told)
        (served,) = self.ended
        return served


@pytest.fixture
def desk() -> Desk:
    return Desk()


def verdict(served: Any) -> Verdict:
    assert isinstance(served, Result)
    return served.verdict


def reply(served: Optional[Result]) -> Any:
    assert served is not None and served.reply is not None
    return json.loads(served.reply.message.body)


def test_handler_with_fields_that_the_lane_decides_names_them_as_ignored(desk: Desk) -> None:
    lane = replace(lane_settings(), terms=LaneTerms(keep_alive="10m"))
    wanted = {"keep_alive": 0, "options": {"num_ctx": 10**6, "seed": 1}, "temperature": 2}
    assert desk.begin({**CHAT, **wanted}, lane=lane)
    (request,) = desk.http.requests
    sent = {"model": "m:1", **CHAT, "options": {"seed": 1}, "keep_alive": "10m", "stream": False}
    assert json.loads(request.body) == sent  # type: ignore[arg-type]
    served = desk.answer(ANSWER)
    assert served is not None and served.reply is not None
    named = "temperature, options.num_ctx, keep_alive"
    assert served.reply.message.headers["x-legion-fleet-ignored"] == served.fields["ignored"] == named


@pytest.mark.parametrize(
    "wanted, code",
    [
        ({"options": {"repeat_last_n": 500_000_000}}, "unsupported_type"),
        ({"format": {"type": "string", "minLength": 1_000_000}}, "payload_too_large"),
        ({"keep_alive": "soon"}, "unsupported_type"),
        ({"template": "{{ range 1000000000 }}x{{ end }}"}, "unsupported_type"),
    ],
)
def test_handler_with_a_request_that_would_hurt_others_refuses_it_without_asking_ollama(
    desk: Desk, wanted: Any, code: str
) -> None:
    one = task_of(delivery({**CHAT, **wanted}))
    assert not desk.handler.begin(one, desk.ended.append)
    served = desk.handler.serve(one)
    assert (served.verdict, served.outcome) == (Verdict.ACK, code)
    error = reply(served)["error"]
    assert (error["code"], error["retriable"]) == (code, False)
    assert next(iter(wanted)) in error["message"]


def test_begin_asks_ollama_and_answers(desk: Desk) -> None:
    assert desk.begin()
    (request,) = desk.http.requests
    assert (request.method, request.path) == ("POST", "/api/chat")
    assert json.loads(request.body) == {"model": "m:1", **CHAT, "stream": False}  # type: ignore[arg-type]
    assert 0 < desk.http.seconds <= lane_settings().deadline
    served = desk.answer(ANSWER)
    assert served is not None
    assert (served.verdict, served.outcome) == (Verdict.ACK, "answered")
    assert served.fields["output_tokens"] == 2
    assert reply(served)["message"]["content"] == "Good morning."


@pytest.mark.parametrize("on_loop", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_handler_with_a_carried_request_without_a_reply_queue_acknowledges_it(on_loop: bool, stream: bool) -> None:
    events = b'data: {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\ndata: [DONE]\n\n'
    script = Script(Answer(events, content_type="text/event-stream" if stream else "application/json"))
    desk = Desk()
    handler = RequestHandler(desk.settings, script.client, desk.health, desk.http)  # type: ignore[arg-type]
    body = {"model": "m:1", **CHAT, "stream": stream}
    path = {"x-legion-carried-path": "/v1/chat/completions"}
    task = task_of(delivery(body, type="legionio.carried.request", reply_to=None, headers=path))
    began = on_loop and handler.begin(task, desk.ended.append)
    served = desk.hear(events) if began else handler.serve(task)
    assert (served.verdict, served.outcome, served.reply) == (Verdict.ACK, "answered", None)
    assert served.fields["unanswered"] == "no reply_to"
    assert (served.fields["input_tokens"], served.fields["output_tokens"]) == (3, 4)


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
def test_begin_of_a_request_that_takes_more_is_left_to_a_thread(desk: Desk, body: Any, options: Any) -> None:
    assert not desk.begin(body, **options)
    assert not desk.http.requests and not desk.ended
    # Which has something to say to it.
    done = desk.handler.serve(desk.task)
    assert done.outcome != "answered"


def test_begin_without_a_client_on_the_loop_is_left_to_a_thread(desk: Desk) -> None:
    handler = RequestHandler(desk.settings, desk.client, desk.health)  # type: ignore[arg-type]
    assert not handler.begin(desk.task, desk.ended.append)


@pytest.mark.parametrize(
    "error", [ServerUnreachableError("nobody"), ConnectionLostError("cut")], ids=lambda error: type(error).__name__
)
def test_begin_with_an_ollama_that_is_down_is_left_to_a_thread(desk: Desk, error: Exception) -> None:
    assert desk.begin()
    assert desk.tell(error) is None


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests"])
def test_handler_with_a_busy_ollama_gives_the_slot_up_for_longer_each_time(status: str) -> None:
    desk, pauses = Desk(patience=30.0), []
    for _time in range(4):
        assert desk.begin_again()
        later = desk.answer({"error": "server busy"}, status)
        assert isinstance(later, Later)
        assert "server busy" in later.reason
        pauses.append(later.seconds)
    assert pauses[0] < pauses[2] and pauses[1] < pauses[3]


def test_handler_with_a_busy_ollama_and_no_patience_lets_another_node_try(desk: Desk) -> None:
    assert desk.begin()
    assert verdict(desk.answer({"error": "server busy"}, "503 Service Unavailable")) is Verdict.REQUEUE
    assert desk.begin(count=1)
    served = desk.answer({"error": "server busy"}, "503 Service Unavailable")
    assert reply(served)["error"]["code"] == "ollama_unavailable"


def test_handler_with_a_runner_that_ended_tries_once_more_alone(desk: Desk) -> None:
    assert desk.begin()
    text = {"error": "an error was encountered while running the model: unexpected EOF"}
    later = desk.answer(text, "500 Internal Server Error")
    assert isinstance(later, Later)
    assert later.alone
    assert not desk.begin_again(), "it waits a moment first, in a thread"


def test_handler_stopped_while_it_waits_gives_the_request_back() -> None:
    desk = Desk(patience=30.0)
    assert desk.begin()
    desk.task.stop.stop()
    assert verdict(desk.answer({"error": "server busy"}, "503 Service Unavailable")) is Verdict.REQUEUE


@pytest.mark.parametrize(
    "document, status, outcome, broken",
    [
        ({"error": "bad options"}, "400 Bad Request", "inference_failed", False),
        ({"error": "llama runner process has terminated"}, "500 Internal Server Error", "inference_failed", True),
        ({**ANSWER, "done": False}, "200 OK", "inference_failed", True),
        ([], "200 OK", "inference_failed", False),
        (None, "200 OK", "inference_failed", False),
        ({"error": "something"}, "200 OK", "inference_failed", True),
        ({**ANSWER, "message": {"content": ""}, "eval_count": 0}, "200 OK", "inference_failed", False),
        ({**ANSWER, "logprobs": [float("nan")]}, "200 OK", "inference_failed", False),
        ({**ANSWER, "logprobs": [float("inf")]}, "200 OK", "inference_failed", False),
        ({**ANSWER, "message": {"content": "x" * 2000}}, "200 OK", "payload_too_large", False),
    ],
)
def test_handler_with_a_refusal_of_ollama_answers_with_an_error(
    desk: Desk, document: Any, status: str, outcome: str, broken: bool
) -> None:
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
def test_handler_with_an_error_of_the_client_answers_with_an_error(desk: Desk, error: Exception, outcome: str) -> None:
    assert desk.begin()
    served = desk.tell(error)
    assert served is not None
    assert served.outcome == outcome


def test_handler_stopped_meanwhile_gives_the_request_back(desk: Desk) -> None:
    assert desk.begin()
    desk.task.stop.stop()
    assert desk.http.cancelled == 1
    served = desk.tell(CallCancelledError("cancelled"))
    assert served is not None
    assert (served.verdict, served.outcome, served.reply) == (Verdict.REQUEUE, "given_back", None)


def test_handler_stopped_before_cancels_at_once(desk: Desk) -> None:
    desk.task.stop.stop()
    assert desk.begin_again()
    assert desk.http.cancelled == 1


@pytest.mark.parametrize("error", [LookupError("secret"), RecursionError(), MemoryError(), ValueError("secret")])
@pytest.mark.parametrize("options", [{}, {"type": None}, {"headers": {"x-legion-llm-stream": "delta"}}])
def test_handler_with_a_defect_answers_with_an_error(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, options: Any
) -> None:
    def broken(*_arguments: Any) -> Any:
        raise error

    monkeypatch.setattr("fleet_worker.inference.async_inference.check_answer", broken)
    monkeypatch.setattr("fleet_worker.inference.blocking_inference.BlockingInference.infer", broken)
    served = desk.answer(ANSWER) if desk.begin(**options) else desk.serve(CHAT, **options)
    assert served is not None
    assert (served.verdict, served.outcome) == (Verdict.REJECT, "defect")
    told = reply(served)["error"]
    assert told["retriable"] is False
    assert "secret" not in told["message"]


def test_handler_that_cannot_read_a_request_answers_to_its_properties(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(message: Any, document: Any, served: Any) -> Any:
        if message.body != b"{}":
            raise MemoryError
        return typed.read(message, document, served)

    monkeypatch.setattr(
        "fleet_worker.inference.request_reader.dialect_of", lambda *_: replace(typed.DIALECT, read=broken)
    )
    served = desk.serve(CHAT)
    assert served is not None
    assert served.outcome == "defect"
    assert served.reply is not None
    assert served.reply.message.properties.correlation_id == "c-1"


HALF = "half \ud800"


def nested(levels: int) -> Any:
    found: Any = 1
    for _level in range(levels):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": HALF}]},
        {"messages": [{"role": HALF, "content": "x"}]},
        {**CHAT, "tools": [{"function": {HALF: 1}}]},
        {**CHAT, "format": {HALF: HALF}},
        {**CHAT, "keep_alive": HALF},
    ],
)
@pytest.mark.parametrize("options", [{}, {"headers": {"x-legion-llm-stream": "delta"}}])
def test_handler_with_half_a_surrogate_pair_answers_with_an_error(desk: Desk, body: Any, options: Any) -> None:
    assert not desk.begin(body, **options)
    served = desk.serve(body, **options)
    assert (reply(served)["error"]["code"], reply(served)["error"]["retriable"]) == ("unsupported_type", False)
    assert served is not None
    assert served.outcome == "unsupported_type", "no defect"


@pytest.mark.parametrize("levels", [*range(900, 1000, 7), 100_000])
@pytest.mark.parametrize("where", ["message_context", "format", "protocol_version", "model"])
def test_handler_with_a_request_of_any_depth_answers(desk: Desk, where: str, levels: int) -> None:
    body = b'{"messages": [{"role": "user", "content": "x"}], "%s": ' % where.encode()
    body += b'{"a":' * levels + b"1" + b"}" * levels + b"}"
    served = desk.answer(ANSWER) if desk.begin(body) else desk.serve(body)
    assert served is not None
    assert served.reply is not None


@pytest.mark.parametrize("levels", [*range(900, 1000, 7), 100_000])
def test_handler_with_an_answer_of_any_depth_answers(desk: Desk, levels: int) -> None:
    assert desk.begin()
    content = json.dumps(ANSWER).encode()[:-1] + b', "logprobs": ' + b"[" * levels + b"]" * levels + b"}"
    served = desk.hear(content)
    assert served is not None
    assert served.reply is not None


@pytest.mark.parametrize("eval_count", [-1, 10**400, "7", [7], 1.5])
def test_handler_with_a_token_count_that_is_no_number_counts_nothing(desk: Desk, eval_count: Any) -> None:
    assert desk.begin()
    served = desk.answer({**ANSWER, "eval_count": eval_count})
    assert served is not None
    assert (served.outcome, served.fields["output_tokens"]) == ("answered", 0)


def test_expired_answers_that_the_time_is_over(desk: Desk) -> None:
    served = desk.handler.expired(delivery(CHAT))
    assert served.outcome == "inference_timeout"
    assert reply(served)["error"]["code"] == "inference_timeout"


def test_unacceptable_answers_that_the_answer_is_too_large(desk: Desk) -> None:
    served = desk.handler.unacceptable(delivery(CHAT))
    assert (served.verdict, served.outcome) == (Verdict.ACK, "payload_too_large")
    assert reply(served)["error"]["code"] == "payload_too_large"


def test_used_up_answers_that_the_deliveries_came_to_no_end(desk: Desk) -> None:
    served = desk.handler.used_up(delivery(CHAT), 3)
    assert (served.verdict, served.outcome) == (Verdict.ACK, "inference_failed")
    assert reply(served)["error"]["message"].startswith("3 deliveries of this request came to no end")


def test_handler_with_a_compressed_answer_that_is_broken_answers_with_an_error(desk: Desk) -> None:
    assert desk.begin()
    response = ResponseParser()
    response.feed(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")
    served = desk.tell(response)
    assert served is not None
    assert served.outcome == "inference_failed"
