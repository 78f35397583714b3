# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests are read tolerantly, and nothing that arrives makes reading fail."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects import dialect_of
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.base import ReplyIdentity
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
    reply = dialect.write(request, outcome, ReplyIdentity("gpu-01"))
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


def test_property_wins_over_the_body_and_the_contradiction_is_kept() -> None:
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


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"

#: Everything that a request of each kind can send to Ollama.
FORWARDED: dict[str, dict[str, Any]] = {
    "chat": {
        "messages": MESSAGES,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "format": "json",
        "options": {"seed": 1},
        "keep_alive": "5m",
        "think": True,
        "truncate": False,
        "shift": True,
        "logprobs": True,
        "top_logprobs": 20,
    },
    "generate": {
        "prompt": "x",
        "suffix": "z",
        "images": [PIXEL],
        "format": {"type": "object"},
        "options": {},
        "system": "s",
        "raw": True,
        "keep_alive": 0,
        "think": "high",
        "truncate": True,
        "shift": False,
        "logprobs": False,
        "top_logprobs": 0,
    },
    "embed": {"input": ["a"], "truncate": False, "options": {}, "keep_alive": -1, "dimensions": 64},
}


@pytest.mark.parametrize("call", FORWARDED)
def test_read_passes_every_field_of_a_call_on(call: str) -> None:
    _dialect, request = read(message({**FORWARDED[call], "request_type": call}), LANE)
    assert (request.arguments, request.ignored, request.failure) == (FORWARDED[call], (), None)


@pytest.mark.parametrize("mark", [{}, {"type": "llm.fleet.request"}], ids=["0.3.1", "typed"])
def test_read_names_what_it_leaves_out(mark: dict[str, str]) -> None:
    body = {
        "messages": [{**MESSAGES[0], "name": "Ann", "Images": ["x"]}],
        "system": "s",
        "temperature": 1,
        "caller": {},
    }
    _dialect, request = read(message(body, **mark), LANE)
    assert (request.arguments, request.failure) == ({"messages": MESSAGES}, None)
    assert request.ignored == ("system", "messages.Images", "messages.name", "temperature")


def test_read_of_a_stream_in_the_dialect_0_3_1_names_it() -> None:
    assert read(message({"messages": MESSAGES, "stream": True}), LANE)[1].ignored == ("stream",)


@pytest.mark.parametrize(
    "call, field, value",
    [
        ("generate", "tools", [{"type": "function"}]),
        ("generate", "messages", MESSAGES),
        ("chat", "prompt", "x"),
        ("chat", "suffix", "x"),
        ("chat", "images", [PIXEL]),
        ("chat", "input", "x"),
        ("chat", "raw", True),
        ("embed", "prompt", "x"),
        ("embed", "think", True),
        ("embed", "format", "json"),
        *((call, field, 7) for call in FORWARDED for field in ("template", "context", "width", "height", "steps")),
        *((call, "_debug_render_only", True) for call in FORWARDED),
        # Of a type that Ollama does not take, or more than is allowed.
        ("chat", "messages", {}),
        ("chat", "messages", ["x"]),
        ("chat", "messages", [{"role": "user", "content": 7}]),
        ("chat", "tools", {}),
        ("chat", "options", [{"num_ctx": 1}]),
        ("chat", "format", "yaml"),
        ("chat", "think", "very"),
        ("chat", "think", 1),
        ("chat", "truncate", "yes"),
        ("chat", "logprobs", 1),
        ("chat", "top_logprobs", 21),
        ("chat", "top_logprobs", -1),
        ("chat", "top_logprobs", True),
        ("chat", "top_logprobs", 10**400),
        ("generate", "prompt", 7),
        ("generate", "system", ["x"]),
        ("generate", "images", "x"),
        ("generate", "images", ["not base64!"]),
        ("embed", "input", {}),
        ("embed", "input", [1]),
        ("embed", "input", ["a"] * 2049),
        ("embed", "dimensions", 1.5),
        ("embed", "dimensions", -1),
    ],
)
def test_read_refuses_by_name_what_is_not_passed_on(call: str, field: str, value: Any) -> None:
    needed = {name: FORWARDED[call][name] for name in ("messages", "prompt", "input") if name in FORWARDED[call]}
    _dialect, request = read(message({**needed, field: value, "request_type": call}), LANE)
    assert request.failure is not None
    assert request.failure.code in ("unsupported_type", "payload_too_large")
    assert field in request.failure.message and len(request.failure.message) < 300
    assert not request.failure.retriable


@pytest.mark.parametrize("nothing", [None, False, "", [], {}, 0])
def test_read_takes_a_field_of_another_call_that_asks_for_nothing_as_absent(nothing: Any) -> None:
    _dialect, request = read(message({"messages": MESSAGES, "raw": nothing, "template": nothing}), LANE)
    assert (request.arguments, request.ignored, request.failure) == ({"messages": MESSAGES}, (), None)


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
def test_decode_invalid_body_has_its_code(body: bytes, encoding: str, code: str) -> None:
    limit = 150 if code == "payload_too_large" else 1048576
    document, problem = decode(message(body, content_encoding=encoding), limit)
    assert document == {}
    assert problem is not None and problem.code == code


@pytest.mark.parametrize("encoding", [None, "identity", "UTF-8"])
def test_plain_encodings_are_decoded(encoding: str) -> None:
    assert decode(message({"a": "ä"}, content_encoding=encoding), 100) == ({"a": "ä"}, None)


def test_lone_surrogate_is_escaped() -> None:
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
        "invalid_token": ("auth", False),
        "token_expired": ("auth", False),
        # Not LegionIO's: requests of protocol versions 2 and 3 alone end with these, with other codes.
        "invalid_envelope": ("validation", False),
        "unsupported_operation": ("validation", False),
        "unknown_instance": ("validation", False),
        "contract_violated": ("validation", False),
        "offering_mismatch": ("validation", False),
        "undecryptable": ("validation", False),
    }
