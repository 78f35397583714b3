# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The carried dialect: what is read of a request, and that an answer arrives as it was written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Optional, Union

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.carried import CarriedAnswer
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.control import (
    cancellation,
    cancelled_id,
    control_queue_of,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects import carried, dialect_of
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.base import ReplyIdentity
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.errors import UnreadableAnswerError
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import (
    Failure,
    Message,
    Outcome,
    Properties,
    Request,
    Success,
    decode,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.trust import ANSWER_TYPES

LANE = lane("chat", "llama3.2:3b")
WORKER = ReplyIdentity("gpu-01")
CHAT = {"model": "llama3.2:3b", "messages": [{"role": "user", "content": "Hello"}]}


def message(body: Any, path: str = "/v1/chat/completions") -> Message:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return carried.request_message(path, content, correlation_id="r-1", reply_to="llm.fleet.reply.1", seconds=30)


def read(body: Any, path: str = "/v1/chat/completions") -> Request:
    asked = message(body, path)
    document, _problem = decode(asked, 10_000)
    assert dialect_of(asked.properties, asked.headers, document) is carried.DIALECT
    return carried.read(asked, document, LANE)


def answered(outcome: Outcome, request: Optional[Request] = None) -> Union[carried.AnswerPiece, carried.Ending]:
    reply = carried.write(request or read(CHAT), outcome, WORKER)
    assert reply.routing_key == "llm.fleet.reply.1"
    assert reply.message.properties.correlation_id == "r-1"
    assert reply.message.properties.type in ANSWER_TYPES
    return carried.understand(reply.message)


def test_read_a_request_keeps_path_and_body() -> None:
    body = b'{ "model": "llama3.2:3b", "messages": [], "x": 1.50 }'
    request = read(body)
    assert request.failure is None
    assert request.carried is not None
    assert (request.carried.path, request.carried.body) == ("/v1/chat/completions", body)
    assert (request.call, request.reply_to, request.correlation_id) == ("chat", "llm.fleet.reply.1", "r-1")


def test_read_a_body_that_claims_to_be_an_envelope_is_not_believed() -> None:
    others = {"reply_to": "llm.fleet.reply.2", "correlation_id": "r-2", "request_type": "embed", "protocol_version": 2}
    request = read({**CHAT, **others})
    assert (request.call, request.reply_to, request.correlation_id) == ("chat", "llm.fleet.reply.1", "r-1")


@pytest.mark.parametrize(
    "body, path, code",
    [
        (CHAT, "/api/pull", "unsupported_type"),
        (CHAT, "/api/chat/../pull", "unsupported_type"),
        (CHAT, "", "unsupported_type"),
        ({"messages": []}, "/api/chat", "unsupported_type"),
        ({**CHAT, "model": 7}, "/api/chat", "unsupported_type"),
        ({**CHAT, "model": "another:1b"}, "/api/chat", "model_not_loaded"),
        ({**CHAT, "MODEL": "another:1b"}, "/api/chat", "unsupported_type"),
        ({**CHAT, "options": {"stop": 7}, "format": 3}, "/api/chat", "unsupported_type"),
    ],
)
def test_read_what_must_not_be_carried_has_a_failure(body: Any, path: str, code: str) -> None:
    request = read(body, path)
    assert request.failure is not None
    assert request.failure.code == code
    assert isinstance(answered(request.failure, request), carried.Ending)


def test_write_the_answer_of_ollama_arrives_as_it_was_written() -> None:
    body = b'{"choices": [ ],\n"usage":{}}\xff'
    for outcome in (
        Success(CarriedAnswer(200, "application/json; charset=utf-8", body, (3, 2, False)), 1.0, 0.5),
        Failure(
            "inference_failed", "x", said=CarriedAnswer(200, "application/json; charset=utf-8", body, (3, 2, False))
        ),
    ):
        ending = answered(outcome)
        assert ending == carried.Ending(
            "gpu-01", body, 200, "application/json; charset=utf-8", input_tokens=3, output_tokens=2
        )


def test_write_a_failure_arrives_with_its_code() -> None:
    ending = answered(Failure("ollama_unavailable", "Ollama is down"))
    assert isinstance(ending, carried.Ending) and ending.failure is not None
    assert (ending.failure.code, ending.failure.message, ending.failure.retriable) == (
        "ollama_unavailable",
        "Ollama is down",
        True,
    )


def test_write_piece_arrives_with_its_number_and_the_first_with_the_head() -> None:
    first = carried.AnswerPiece("a1", 0, b"data: 1\n\n", 200, "text/event-stream")
    second = carried.AnswerPiece("a1", 1, b"data: 2\n\n", 200, "text/event-stream")
    arrived = [carried.understand(carried.write_piece(read(CHAT), piece, WORKER).message) for piece in (first, second)]
    assert arrived == [replace(first, node="gpu-01"), replace(second, status=0, content_type="", node="gpu-01")]


@pytest.mark.parametrize(
    "kind, headers, body",
    [
        ("task", {}, b"{}"),
        (None, {}, b""),
        (carried.ANSWER, {}, b"{}"),
        (carried.ANSWER, {carried.STATUS: 99}, b"{}"),
        (carried.ANSWER, {carried.STATUS: "200"}, b"{}"),
        (carried.PIECE, {carried.STATUS: 200}, b"x"),
        (carried.PIECE, {"x-legion-fleet-attempt": "a", "x-legion-fleet-sequence": 0}, b"x"),
        (carried.ERROR, {}, b"no JSON"),
        (carried.ERROR, {}, b'{"code":"invented"}'),
    ],
)
def test_understand_message_of_another_dialect_raises(kind: Any, headers: Any, body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        carried.understand(Message(Properties(type=kind), headers, body))


def test_understand_a_content_type_with_a_line_break_drops_it() -> None:
    headers = {carried.STATUS: 200, carried.CONTENT_TYPE: "text/plain\r\nSet-Cookie: x"}
    ending = carried.understand(Message(Properties(type=carried.ANSWER), headers, b""))
    assert ending.content_type == ""


def test_understand_a_count_that_no_answer_has_is_zero() -> None:
    headers = {carried.STATUS: 200, carried.INPUT_TOKENS: 1e19, carried.OUTPUT_TOKENS: 7}
    ending = carried.understand(Message(Properties(type=carried.ANSWER), headers, b""))
    assert isinstance(ending, carried.Ending) and (ending.input_tokens, ending.output_tokens) == (0, 7)


def test_cancellation_is_read_by_the_node_that_it_goes_to() -> None:
    reply = cancellation("GPU 01.example", "r-1")
    assert reply.routing_key == control_queue_of("GPU 01.example") == "legionio.control.gpu-01-example"
    assert cancelled_id(reply.message) == "r-1"
    assert cancelled_id(Message(Properties(type="task", correlation_id="r-1"), {}, b"")) is None
    assert len(control_queue_of("x" * 255)) < 255
