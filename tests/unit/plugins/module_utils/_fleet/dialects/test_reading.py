# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests are read tolerantly, and nothing that arrives makes reading fail."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects import dialect_of
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.base import Worker
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import (
    CODES,
    Failure,
    Message,
    Properties,
    Success,
    decode,
    encode,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from .requests import CORRELATION_ID, REPLY_TO, message, read, typed

LANE = lane("chat", "llama3.2:3b")
MESSAGES = [{"role": "user", "content": "Hello"}]

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "request_type",
    "model",
    "reply_to",
    "correlation_id",
    "message_context",
    "messages",
    "prompt",
    "input",
    "text",
    "options",
    "stream",
    "protocol_version",
    "operation",
    "keep_alive",
]
BODIES = st.dictionaries(st.sampled_from(FIELDS), ANYTHING)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["x-legion-llm-schema-version", "x-legion-llm-model", "x-legion-llm-request-type", "reply_to", "correlation_id"]
    ),
    ANYTHING,
)
OPTIONAL_TEXT = st.none() | st.text(max_size=20)
PROPERTIES = st.builds(
    Properties,
    type=st.none() | st.sampled_from(["llm.fleet.request", "task", ""]),
    correlation_id=OPTIONAL_TEXT,
    reply_to=OPTIONAL_TEXT,
    content_encoding=OPTIONAL_TEXT,
)


@settings(max_examples=300)
@given(PROPERTIES, HEADERS, st.binary() | BODIES.map(lambda body: json.dumps(body).encode()), st.booleans())
def test_every_message_can_be_read_and_answered(
    properties: Properties, headers: dict[str, Any], body: bytes, well: bool
) -> None:
    sent = Message(properties, headers, body)
    document, problem = decode(sent, 1048576)
    dialect = dialect_of(properties, headers, document)
    request = dialect.read(sent, document, LANE)
    assert request.call in ("chat", "generate", "embed")
    failure = problem or request.failure
    outcome: Any = failure or (Success({"done": True}, 0.0, 0.1) if well else Failure("inference_failed", "x"))
    reply = dialect.write(request, outcome, Worker("gpu-01"))
    json.loads(reply.message.body)
    assert len((reply.message.properties.correlation_id or "").encode()) <= 255


@pytest.mark.parametrize("place", ["property", "body", "header"])
@pytest.mark.parametrize("mark", [{}, {"type": "llm.fleet.request"}], ids=["0.3.1", "typed"])
def test_reply_queue_and_correlation_id_are_found_wherever_they_are(place: str, mark: dict[str, str]) -> None:
    where = {"reply_to": REPLY_TO, "correlation_id": CORRELATION_ID}
    body = {"messages": MESSAGES, **(where if place == "body" else {})}
    sent = message(body, where if place == "header" else None, **mark, **(where if place == "property" else {}))
    _dialect, request = read(sent, LANE)
    assert (request.reply_to, request.correlation_id) == (REPLY_TO, CORRELATION_ID)
    assert request.contradictions == ()


def test_the_property_wins_over_the_body_and_the_contradiction_is_told() -> None:
    _dialect, request = read(typed({"reply_to": "llm.fleet.reply.b", "correlation_id": "other"}), LANE)
    assert (request.reply_to, request.correlation_id) == (REPLY_TO, CORRELATION_ID)
    assert request.contradictions == ("reply_to", "correlation_id")


@pytest.mark.parametrize("wrong", [None, "", True, 1.5, [], {}])
def test_a_value_of_a_wrong_type_counts_as_absent(wrong: Any) -> None:
    _dialect, request = read(message({"reply_to": wrong, "correlation_id": wrong}), LANE)
    assert (request.reply_to, request.correlation_id) == (None, None)


@pytest.mark.parametrize("wrong", ["x" * 256, "\u20ac" * 86, "\ud800"])
def test_a_reply_queue_that_no_property_can_carry_counts_as_absent(wrong: str) -> None:
    assert read(message({"reply_to": wrong}), LANE)[1].reply_to is None


def test_a_correlation_id_of_more_than_4096_characters_is_refused() -> None:
    _dialect, request = read(message({"correlation_id": "x" * 4097}), LANE)
    assert request.failure is not None and "4097 characters" in request.failure.message
    assert request.correlation_id is None


def test_a_correlation_id_may_be_a_number() -> None:
    assert read(message({"correlation_id": 17}), LANE)[1].correlation_id == "17"


def test_model_and_type_come_from_body_else_header_else_lane() -> None:
    headers = {"x-legion-llm-model": "llama3.2:3B", "x-legion-llm-request-type": "generate"}
    _dialect, request = read(message({"model": "llama3.2:3b", "request_type": "chat"}, headers), LANE)
    assert (request.model, request.request_type) == ("llama3.2:3b", "chat")
    _dialect, request = read(message({}, headers), LANE)
    assert (request.model, request.request_type) == ("llama3.2:3B", "generate")
    _dialect, request = read(message({"model": 7, "request_type": ["chat"]}), lane("generate", "llama3.2:3b"))
    assert (request.model, request.request_type, request.failure) == ("llama3.2:3b", "generate", None)


@pytest.mark.parametrize("place", ["body", "header"])
def test_a_model_that_is_not_the_lanes_is_refused(place: str) -> None:
    sent = message({"model": "big:70b"}) if place == "body" else message({}, {"x-legion-llm-model": "big:70b"})
    _dialect, request = read(sent, LANE)
    assert request.failure is not None
    assert (request.failure.code, request.model) == ("model_not_loaded", "llama3.2:3b")


FORWARDED = {
    "chat": {
        "messages": MESSAGES,
        "tools": [1],
        "format": "json",
        "options": {"seed": 1},
        "keep_alive": "5m",
        "think": True,
    },
    "generate": {"prompt": "x", "images": ["b64"], "format": {}, "options": {}, "system": "s", "keep_alive": 0},
    "embed": {"input": ["a"], "truncate": False, "options": {}, "keep_alive": -1, "dimensions": 64},
}


@pytest.mark.parametrize("call", FORWARDED)
def test_ollama_gets_what_lex_ollama_forwards_and_nothing_else(call: str) -> None:
    everything = {name: value for fields in FORWARDED.values() for name, value in fields.items()}
    unknown = {"stream": False, "temperature": 1, "tool_choice": "auto", "signed_token": "x"}
    _dialect, request = read(message({**everything, **unknown, **FORWARDED[call], "request_type": call}), LANE)
    assert request.arguments == FORWARDED[call]


def test_nulls_are_not_forwarded_and_text_stands_in_for_input() -> None:
    _dialect, request = read(message({"request_type": "embed", "input": None, "text": "a", "truncate": None}), LANE)
    assert request.arguments == {"input": "a"}
    _dialect, request = read(message({"request_type": "embed", "input": "b", "text": "a"}), LANE)
    assert request.arguments == {"input": "b"}


@pytest.mark.parametrize(
    "body, encoding, code",
    [
        (b"\xff\xfe", None, "unsupported_type"),
        (b"[1]", None, "unsupported_type"),
        (b'{"a": NaN}', None, "unsupported_type"),
        (b'{"a": 1e999}', None, "unsupported_type"),
        (b"[" * 100000, None, "unsupported_type"),
        (b"gcm:abc:def", "encrypted/cs", "unsupported_type"),
        (b'{"a": "' + b"x" * 200 + b'"}', None, "payload_too_large"),
    ],
)
def test_what_cannot_be_decoded_is_told_apart(body: bytes, encoding: str, code: str) -> None:
    limit = 150 if code == "payload_too_large" else 1048576
    document, problem = decode(message(body, content_encoding=encoding), limit)
    assert document == {}
    assert problem is not None and problem.code == code


@pytest.mark.parametrize("encoding", [None, "identity", "UTF-8"])
def test_plain_encodings_are_decoded(encoding: str) -> None:
    assert decode(message({"a": "ä"}, content_encoding=encoding), 100) == ({"a": "ä"}, None)


def test_what_utf_8_cannot_hold_is_escaped() -> None:
    assert json.loads(encode({"a": "\ud800", "b": "ä"})) == {"a": "\ud800", "b": "ä"}


def test_the_codes_are_those_of_the_protocol() -> None:
    assert {code: (category, retriable) for code, (category, retriable, _status) in CODES.items()} == {
        "model_not_loaded": ("worker", False),
        "ollama_unavailable": ("worker", True),
        "inference_failed": ("worker", True),
        "inference_timeout": ("worker", True),
        "payload_too_large": ("validation", False),
        "unsupported_type": ("validation", False),
        "unsupported_streaming": ("validation", False),
    }
