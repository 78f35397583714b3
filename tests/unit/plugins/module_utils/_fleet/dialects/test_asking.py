# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What our own requester sends and understands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects import dialect_named
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.base import ReplyIdentity
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.direct_reply import DIRECT_REPLY_TO
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.errors import (
    FleetAnswerError,
    UnreadableAnswerError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import Failure, Question, Success

from .requests import CORRELATION_ID, REPLY_TO, message, read

QUESTION = Question("chat", "m:1", {"messages": [{"role": "user", "content": "Hi"}]}, seconds=1.0005)
LANE = lane("chat", "m:1")
DIALECTS = ["0.3.1", "typed"]


def asked(name: str, question: Question = QUESTION, reply_to: str = REPLY_TO) -> Any:
    ask = dialect_named(name).ask
    assert ask is not None
    return ask(question, CORRELATION_ID, reply_to)


def understood(name: str, reply: Any) -> Any:
    understand = dialect_named(name).understand
    assert understand is not None
    return understand(reply)


def test_a_typed_request() -> None:
    sent = asked("typed")
    properties = sent.properties
    assert json.loads(sent.body) == {
        "messages": [{"role": "user", "content": "Hi"}],
        "request_type": "chat",
        "message_context": {},
        "provider": "ollama",
        "model": "m:1",
        "reply_to": REPLY_TO,
        "correlation_id": CORRELATION_ID,
    }
    assert (properties.type, properties.correlation_id, properties.reply_to) == (
        "llm.fleet.request",
        CORRELATION_ID,
        REPLY_TO,
    )
    assert (properties.content_type, properties.content_encoding) == ("application/json", "identity")
    assert (properties.priority, properties.expiration, properties.delivery_mode) == (5, "1001", 1)
    assert (properties.message_id or "").startswith("req_") and properties.message_id != CORRELATION_ID
    deadline = sent.headers.pop("x-legion-fleet-deadline")
    assert abs(deadline / 1000 - properties.timestamp) < 5
    assert sent.headers == {
        "legion_protocol_version": "2.0",
        "x-legion-llm-provider": "ollama",
        "x-legion-llm-model": "m:1",
        "x-legion-llm-request-type": "chat",
        "x-legion-llm-schema-version": "1.0.0",
    }


def test_a_plain_request_has_no_marks() -> None:
    sent = asked("0.3.1")
    assert (sent.properties.type, sent.headers) == (None, {})
    assert json.loads(sent.body)["reply_to"] == REPLY_TO


@pytest.mark.parametrize("name", DIALECTS)
def test_a_direct_reply_queue_is_not_in_the_body(name: str) -> None:
    sent = asked(name, reply_to=DIRECT_REPLY_TO)
    assert "reply_to" not in json.loads(sent.body)
    assert sent.properties.reply_to == DIRECT_REPLY_TO


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(
    "call, result, text, embeddings",
    [
        ("chat", {"message": {"role": "assistant", "content": "Hi"}, "done": True}, "Hi", None),
        ("generate", {"response": "Hi", "done": True}, "Hi", None),
        ("embed", {"embeddings": [[0.5]]}, None, [[0.5]]),
    ],
)
def test_a_question_is_read_answered_and_understood(
    name: str, call: str, result: Any, text: Any, embeddings: Any
) -> None:
    counts = {"prompt_eval_count": 3, "eval_count": 4}
    dialect, request = read(asked(name, Question(call, "m:1", {}, 5)), LANE)
    assert (dialect.name, request.call, request.failure) == (name, call, None)
    answer = understood(
        name, dialect.write(request, Success({**result, **counts}, 0.0, 1.0), ReplyIdentity("gpu-01")).message
    )
    assert (answer.text, answer.embeddings, answer.node, answer.model) == (text, embeddings, "gpu-01", "m:1")
    # The dialect 0.3.1 has no usage for embeddings, but the result of Ollama itself.
    assert (answer.input_tokens, answer.output_tokens) == (3, 4)


@pytest.mark.parametrize("name", DIALECTS)
def test_an_error_is_raised_with_its_code(name: str) -> None:
    dialect, request = read(asked(name), LANE)
    reply = dialect.write(request, Failure("ollama_unavailable", "it is down"), ReplyIdentity("gpu-01"))
    with pytest.raises(FleetAnswerError, match="it is down") as caught:
        understood(name, reply.message)
    assert caught.value.details["fleet_code"] == "ollama_unavailable"
    assert caught.value.details["retriable"] is True
    assert caught.value.details["node"] == "gpu-01"


@pytest.mark.parametrize("name", DIALECTS)
def test_a_worker_cannot_forge_lines_of_the_operator(name: str) -> None:
    dialect, request = read(asked(name), LANE)
    failure = Failure("inference_failed", "down\nPLAY RECAP \x1b[2J\u202e" + 1000 * "A")
    reply = dialect.write(request, failure, ReplyIdentity("gpu\n01"))
    with pytest.raises(FleetAnswerError, match="down") as caught:
        understood(name, reply.message)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 800


def test_a_response_without_content_of_lex_ollama_is_an_error() -> None:
    body = {"audit": {"fleet:execute": {"outcome": "error"}}, "message": {"role": "assistant", "content": None}}
    with pytest.raises(FleetAnswerError, match="does not say why"):
        understood("typed", message(body, type="llm.fleet.response"))


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"null"])
def test_understand_message_that_is_not_an_answer_raises(name: str, body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        understood(name, message(body))
