# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a request that is begun on the I/O thread: the same as in a thread, or it is left to one."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Callable, Optional, Union

import pytest
from fleet_worker._fleet.dialects import typed
from fleet_worker._fleet.dialects.base import ReplyIdentity
from fleet_worker._ollama.api_errors import (
    ApiError,
    CallCancelledError,
    ConnectionLostError,
    DeadlineExceededError,
    ServerUnreachableError,
    UnexpectedAnswerError,
)
from fleet_worker._ollama.client import OllamaClient
from fleet_worker._ollama.transport import HttpRequest
from fleet_worker.domain.lane_rule import ALONE
from fleet_worker.domain.lane_terms import LaneTerms
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.inference.cancel_token import CancelToken
from fleet_worker.inference.deltas import DeltaPublisher
from fleet_worker.inference.fault_table import ModelFailure
from fleet_worker.inference.handler import RequestHandler
from fleet_worker.inference.http_response import ResponseParser
from fleet_worker.inference.request_reader import HandlerSettings
from fleet_worker.inference.tries import Later, Tries

from ..deliveries import delivery, served_lane

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
        self.stop = CancelToken()
        self.ended: list[Union[Result, Later, None]] = []
        client = OllamaClient("127.0.0.1:1", retries=0, connect_timeout=1)
        terms = HandlerSettings(ReplyIdentity("gpu-01"), ("llm.fleet.reply.*",), 10_000, 1000, 0.0, False)
        self.server = RequestHandler(terms, client, SimpleNamespace(suspect=lambda _reason: None), self.asker)  # type: ignore[arg-type]

    def _terms(self, patience: float, size: int) -> None:
        terms = replace(self.server._terms, patience=patience, max_request=size)
        self.server._terms = self.server._reader._terms = terms

    def begin(
        self,
        body: Any = None,
        *,
        tries: Optional[Tries] = None,
        patience: float = 0.0,
        size: int = 10_000,
        **options: Any,
    ) -> bool:
        self._terms(patience, size)
        made = delivery(CHAT if body is None else body, **options)
        return self.server.begin(made, self.stop, self.ended.append, tries)

    def serve(self, body: Any, *, size: int = 10_000, **options: Any) -> Any:
        self._terms(0.0, size)
        loop = SimpleNamespace(add_callback_threadsafe=lambda _callback: None)
        return self.server.serve(delivery(body, **options), self.stop, DeltaPublisher(loop, None, None))  # type: ignore[arg-type]

    def answer(self, document: Any, status: str = "200 OK") -> Any:
        return self.hear(json.dumps(document).encode(), status)

    def hear(self, content: bytes, status: str = "200 OK") -> Any:
        response = ResponseParser()
        assert response.feed(f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        return self.tell(response)

    def tell(self, told: Any) -> Any:
        self.asker.told(told)
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


def test_what_the_lane_decides_does_not_reach_ollama_and_is_named(desk: Desk) -> None:
    lane = served_lane()
    lane = replace(lane, terms=LaneTerms(keep_alive="10m"))
    wanted = {"keep_alive": 0, "options": {"num_ctx": 10**6, "seed": 1}, "temperature": 2}
    assert desk.begin({**CHAT, **wanted}, served=lane)
    (request,) = desk.asker.requests
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
def test_what_would_hurt_others_is_refused_without_asking_ollama(desk: Desk, wanted: Any, code: str) -> None:
    one = delivery({**CHAT, **wanted})
    assert not desk.server.begin(one, desk.stop, desk.ended.append)
    served = desk.server.serve(one, desk.stop, DeltaPublisher(None, None, None))  # type: ignore[arg-type]
    assert (served.verdict, served.outcome) == (Verdict.ACK, code)
    error = reply(served)["error"]
    assert (error["code"], error["retriable"]) == (code, False)
    assert next(iter(wanted)) in error["message"]


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
    done = desk.server.serve(delivery(body, **options), desk.stop, DeltaPublisher(None, None, None))  # type: ignore[arg-type]
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


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests"])
def test_server_with_a_busy_ollama_gives_the_slot_up_for_longer_each_time(desk: Desk, status: str) -> None:
    tries, pauses = Tries(), []
    for _time in range(4):
        assert desk.begin(tries=tries, patience=30.0)
        later = desk.answer({"error": "server busy"}, status)
        assert isinstance(later, Later)
        assert "server busy" in later.reason
        pauses.append(later.seconds)
        desk.ended.clear()
    assert pauses[0] < pauses[2] and pauses[1] < pauses[3]


def test_server_with_a_busy_ollama_and_no_patience_lets_another_node_try(desk: Desk) -> None:
    assert desk.begin()
    assert verdict(desk.answer({"error": "server busy"}, "503 Service Unavailable")) is Verdict.REQUEUE
    desk.ended.clear()
    assert desk.begin(count=1)
    served = desk.answer({"error": "server busy"}, "503 Service Unavailable")
    assert reply(served)["error"]["code"] == "ollama_unavailable"


def test_server_with_a_runner_that_ended_tries_once_more_alone(desk: Desk) -> None:
    tries = Tries()
    assert desk.begin(tries=tries)
    text = {"error": "an error was encountered while running the model: unexpected EOF"}
    later = desk.answer(text, "500 Internal Server Error")
    assert isinstance(later, Later)
    assert later.alone
    assert not desk.begin(tries=tries), "it waits a moment first, in a thread"
    error = ApiError("gone", status=500, server_message="model runner has unexpectedly stopped")
    for seconds, retriable in ((2.0, False), (ALONE + 1, True)):  # after that it was not alone any more
        outcome = desk.server.ended(error, delivery(CHAT), tries, 1.0, seconds)
        assert isinstance(outcome, ModelFailure)
        assert outcome.retriable is retriable


def test_server_stopped_while_it_waits_gives_the_request_back(desk: Desk) -> None:
    assert desk.begin(patience=30.0)
    desk.stop.stop()
    assert verdict(desk.answer({"error": "server busy"}, "503 Service Unavailable")) is Verdict.REQUEUE


@pytest.mark.parametrize(
    "document, status, outcome, broken",
    [
        ({"error": "model 'm:1' not found"}, "404 Not Found", "model_not_loaded", False),
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


@pytest.mark.parametrize("error", [LookupError("secret"), RecursionError(), MemoryError(), ValueError("secret")])
@pytest.mark.parametrize("options", [{}, {"type": None}, {"headers": {"x-legion-llm-stream": "delta"}}])
def test_server_with_a_defect_answers_with_an_error(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, options: Any
) -> None:
    def broken(*_arguments: Any) -> Any:
        raise error

    monkeypatch.setattr("fleet_worker.inference.handler.check_answer", broken)
    monkeypatch.setattr(desk.server, "_infer", broken)
    served = desk.answer(ANSWER) if desk.begin(**options) else desk.serve(CHAT, **options)
    assert served is not None
    assert (served.verdict, served.outcome) == (Verdict.REJECT, "defect")
    told = reply(served)["error"]
    assert told["retriable"] is False
    assert "secret" not in told["message"]


def test_server_that_cannot_read_a_request_answers_to_its_properties(
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
def test_server_with_half_a_surrogate_pair_in_what_ollama_is_sent_answers_with_an_error(
    desk: Desk, body: Any, options: Any
) -> None:
    assert not desk.begin(body, **options)
    served = desk.serve(body, **options)
    assert (reply(served)["error"]["code"], reply(served)["error"]["retriable"]) == ("unsupported_type", False)
    assert served is not None
    assert served.outcome == "unsupported_type", "no defect"


@pytest.mark.parametrize("levels", [*range(900, 1000, 7), 100_000])
@pytest.mark.parametrize("where", ["message_context", "format", "protocol_version", "model"])
def test_server_with_a_request_of_any_depth_answers(desk: Desk, where: str, levels: int) -> None:
    body = b'{"messages": [{"role": "user", "content": "x"}], "%s": ' % where.encode()
    body += b'{"a":' * levels + b"1" + b"}" * levels + b"}"
    served = desk.answer(ANSWER) if desk.begin(body, size=10_000_000) else desk.serve(body, size=10_000_000)
    assert served is not None
    assert served.reply is not None


@pytest.mark.parametrize("levels", [*range(900, 1000, 7), 100_000])
def test_server_with_an_answer_of_any_depth_answers(desk: Desk, levels: int) -> None:
    assert desk.begin()
    content = json.dumps(ANSWER).encode()[:-1] + b', "logprobs": ' + b"[" * levels + b"]" * levels + b"}"
    served = desk.hear(content)
    assert served is not None
    assert served.reply is not None


@pytest.mark.parametrize("eval_count", [-1, 10**400, "7", [7], 1.5])
def test_server_with_a_count_that_is_none_counts_nothing(desk: Desk, eval_count: Any) -> None:
    assert desk.begin()
    served = desk.answer({**ANSWER, "eval_count": eval_count})
    assert served is not None
    assert (served.outcome, served.fields["output_tokens"]) == ("answered", 0)


def test_server_whose_request_is_overdue_says_so(desk: Desk) -> None:
    served = desk.server.expired(delivery(CHAT))
    assert served.outcome == "inference_timeout"
    assert reply(served)["error"]["code"] == "inference_timeout"


def test_server_with_an_answer_that_the_broker_does_not_take_says_so(desk: Desk) -> None:
    served = desk.server.unacceptable(delivery(CHAT))
    assert (served.verdict, served.outcome) == (Verdict.ACK, "payload_too_large")
    assert reply(served)["error"]["code"] == "payload_too_large"


def test_a_compressed_answer_that_is_none_is_told(desk: Desk) -> None:
    assert desk.begin()
    response = ResponseParser()
    response.feed(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")
    served = desk.tell(response)
    assert served is not None
    assert served.outcome == "inference_failed"
