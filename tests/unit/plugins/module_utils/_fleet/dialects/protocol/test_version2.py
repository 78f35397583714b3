# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol version 2, against the literal messages of its requester, and by the rules of its reader."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects import dialect_of, served
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.protocol.version2 import DIALECT
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.direct_reply import DIRECT_REPLY_TO
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import CODES, Failure, Success
from hypothesis import given
from hypothesis import strategies as st

from .protocol_messages import EMBED_LANE, MODEL, code_of, current, in_seconds, literal, message, read, written

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Now",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "call_0123456789abcdef01234567", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
CALLED = {
    "model": MODEL,
    "message": {"role": "assistant", "content": "", "tool_calls": [CALL]},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 141,
    "eval_count": 22,
}
SAID = {**CALLED, "message": {"role": "assistant", "content": "Cold."}}

#: What any answer must repeat, or its requester does not look at it.
NEEDED = {"protocol_version": 2, "operation": "chat", "correlation_id": "req_b2"}


def request(**changes: Any) -> Any:
    return read(DIALECT, current("version2_request", **changes))


def test_the_literal_request_asks_ollama_for_what_it_says() -> None:
    found = request()
    assert found.failure is None
    assert (found.call, found.request_type, found.model) == ("chat", "chat", MODEL)
    assert (found.reply_to, found.correlation_id) == ("llm.fleet.reply.0f1e2d3c4b5a6978", "req_b2")
    assert found.message_context == {"request_id": "req_77", "conversation_id": "conv_81"}
    assert found.arguments == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather in Oslo?"},
        ],
        "tools": [WEATHER],
    }
    assert (found.ignored, found.contradictions) == ((), ())


def test_the_literal_reply_is_what_the_answer_is() -> None:
    reply, body = written(DIALECT, request(), Success(CALLED, 0.0, 1.0))
    assert body == literal("version2_reply")
    properties = reply.message.properties
    assert (reply.exchange, reply.routing_key) == ("", "llm.fleet.reply.0f1e2d3c4b5a6978")
    assert (properties.type, properties.content_type, properties.content_encoding) == (
        "llm.fleet.response",
        "application/json",
        "identity",
    )
    assert (properties.correlation_id, properties.reply_to) == ("req_b2", "llm.fleet.reply.0f1e2d3c4b5a6978")
    assert (properties.priority, properties.delivery_mode, properties.expiration) == (0, 1, None)
    assert (properties.message_id or "").startswith("llm_fleet_res_")
    assert reply.message.headers == {"legion_protocol_version": "2.0", "x-legion-hostname": "gpu-01"}


def test_the_literal_error_is_what_a_failure_is() -> None:
    reply, body = written(DIALECT, request(), Failure("token_expired", "fleet token expired"))
    assert body == literal("version2_error")
    assert reply.message.properties.type == "llm.fleet.error"
    assert (reply.message.properties.message_id or "").startswith("llm_fleet_err_")


@pytest.mark.parametrize("operation", ["chat", "stream"])
def test_version_2_answers_a_chat_and_a_stream_as_one_whole(operation: str) -> None:
    _reply, body = written(DIALECT, request(operation=operation), Success(SAID, 0.0, 1.0))
    assert (body["operation"], body["content"], body["tool_calls"]) == (operation, "Cold.", [])
    assert (body["finish_reason"], body["metadata"]) == ("end_turn", {})
    assert body["usage"] == {"input_tokens": 141, "output_tokens": 22}


@pytest.mark.parametrize(
    "reason, expected", [("stop", "end_turn"), ("length", "max_tokens"), ("load", "end_turn"), (None, "end_turn")]
)
def test_version_2_says_why_an_answer_ended(reason: Any, expected: str) -> None:
    _reply, body = written(DIALECT, request(), Success({**SAID, "done_reason": reason}, 0.0, 1.0))
    assert body["finish_reason"] == expected


def test_version_2_passes_thinking_on() -> None:
    thought = {**SAID, "message": {"role": "assistant", "content": "Cold.", "thinking": "Oslo is north."}}
    _reply, body = written(DIALECT, request(), Success(thought, 0.0, 1.0))
    assert body["thinking"] == {"content": "Oslo is north."}


@pytest.mark.parametrize(
    "text, content", [("one", [0.5, 1.0]), (["one"], [[0.5, 1.0]]), (["one", "two"], [[0.5, 1.0], [0.25, 2.0]])]
)
def test_version_2_answers_a_text_with_a_vector_and_a_list_with_vectors(text: Any, content: Any) -> None:
    vectors = [[0.5, 1.0], [0.25, 2.0]][: 1 if isinstance(text, str) else len(text)]
    asked = read(DIALECT, current("version2_request", operation="embed", params={"text": text}), EMBED_LANE)
    assert (asked.call, asked.arguments) == ("embed", {"input": text})
    _reply, body = written(DIALECT, asked, Success({"embeddings": vectors, "prompt_eval_count": 4}, 0.0, 0.1))
    assert body["content"] == content
    assert body["usage"] == {"input_tokens": 4, "output_tokens": 0}


def test_version_2_counts_tokens_by_ollamas_own_count() -> None:
    asked = request(operation="count_tokens")
    assert (asked.call, asked.arguments["options"], asked.arguments["truncate"]) == ("chat", {"num_predict": 1}, False)
    assert asked.arguments["tools"] == [WEATHER], "they are part of the prompt"
    _reply, body = written(DIALECT, asked, Success({**SAID, "eval_count": 1}, 0.0, 0.1))
    assert (body["content"], body["usage"]) == ("141", {"input_tokens": 141, "output_tokens": 0})


REQUIRED = [
    *("request_id", "correlation_id", "idempotency_key", "operation", "provider", "provider_instance", "model"),
    *("params", "reply_to", "message_context", "caller", "trace_context", "signed_token", "timeout_seconds"),
    "expires_at",
]


@pytest.mark.parametrize("field", REQUIRED)
@pytest.mark.parametrize("value", ["absent", None, 7.5, "", [1], False, "0"])
def test_version_2_without_a_required_field_is_refused(field: str, value: Any) -> None:
    document = current("version2_request", **{field: value})
    if value == "absent":
        del document[field]
    if value in (7.5, "0") and field not in ("params", "message_context", "caller", "trace_context", "expires_at"):
        return  # a number or a text where one may stand
    found = read(DIALECT, document)
    assert code_of(found) == "invalid_envelope"
    _reply, body = written(DIALECT, found, found.failure)
    assert (body["code"], body["error_class"], body["retryable"]) == ("provider_error", "ArgumentError", True)
    assert field in body["message"]


def test_version_2_takes_empty_objects() -> None:
    found = request(params={}, message_context={}, caller={}, trace_context={})
    assert (found.failure, found.arguments) == (None, {"messages": []})
    _reply, body = written(DIALECT, found, Success({**SAID, "done_reason": "load"}, 0.0, 0.1))
    assert (body["message_context"], body["trace_context"]) == ({}, {})


@pytest.mark.parametrize("field", ["schema_version", "request_type", "fleet_correlation_id"])
@pytest.mark.parametrize("value", ["1.0.0", None])
def test_version_2_with_a_field_of_older_dialects_is_refused(field: str, value: Any) -> None:
    found = request(**{field: value})
    assert code_of(found) == "invalid_envelope" and field in found.failure.message


@pytest.mark.parametrize(
    "field, value", [("provider", "vllm"), ("expires_at", "soon"), ("timeout_seconds", 0), ("timeout_seconds", "30")]
)
def test_version_2_with_a_value_that_does_not_fit_is_refused(field: str, value: Any) -> None:
    assert code_of(request(**{field: value})) == "invalid_envelope"


@pytest.mark.parametrize("operation", ["image", "stream_chat", "moderate", "x" * 1000])
def test_version_2_with_another_operation_is_refused_by_policy(operation: str) -> None:
    found = request(operation=operation)
    _reply, body = written(DIALECT, found, found.failure)
    assert (body["code"], body["retryable"], body["operation"]) == ("policy_error", False, operation)


def test_version_2_for_another_model_is_refused() -> None:
    found = request(model="llama3")
    assert code_of(found) == "model_not_loaded"
    _reply, body = written(DIALECT, found, found.failure)
    assert (body["code"], body["model"]) == ("provider_error", "llama3")


@pytest.mark.parametrize("seconds, code", [(30, None), (-25, None), (-60, "inference_timeout")])
def test_version_2_that_has_expired_is_refused_with_leeway(seconds: float, code: Any) -> None:
    assert code_of(request(expires_at=in_seconds(seconds))) == code


@pytest.mark.parametrize("text", ["2099-08-01T10:00:30Z", "2099-08-01T10:00:30.5+02:00", "2099-08-01T10:00:30"])
def test_version_2_reads_times_with_and_without_a_zone(text: str) -> None:
    assert code_of(request(expires_at=text)) is None


@pytest.mark.parametrize("name", ["reply_to", "correlation_id"])
def test_version_2_whose_property_contradicts_its_body_is_refused_to_the_body(name: str) -> None:
    document = current("version2_request")
    found = read(DIALECT, document, **{name: "llm.fleet.reply.ffffffffffffffff"})
    assert (code_of(found), found.contradictions) == ("invalid_envelope", (name,))
    assert (found.reply_to, found.correlation_id) == (document["reply_to"], document["correlation_id"])


def test_version_2_whose_properties_were_lost_is_answered_by_its_body() -> None:
    lost = {"type": None, "correlation_id": None, "reply_to": None, "message_id": None, "expiration": None}
    found = read(DIALECT, current("version2_request"), **lost)
    assert (found.failure, found.reply_to) == (None, "llm.fleet.reply.0f1e2d3c4b5a6978")
    reply, body = written(DIALECT, found, Success(SAID, 0.0, 1.0))
    assert reply.message.properties.correlation_id == body["correlation_id"] == "req_b2"


def test_version_2_with_a_direct_reply_queue_is_answered_to_the_brokers_name() -> None:
    name = DIRECT_REPLY_TO + ".g1h2AA.x"
    found = read(DIALECT, current("version2_request", reply_to=DIRECT_REPLY_TO), reply_to=name)
    assert (found.failure, found.reply_to) == (None, name)


EXACT = {"execution_contract": "exact_offering_v1", "offering_id": "fleet:ollama:default:inference:qwen3.5:27b"}


@pytest.mark.parametrize(
    "changes, code",
    [
        (EXACT, None),
        ({**EXACT, "offering_id": "local:ollama:default:inference:qwen3.5:27b"}, None),
        ({"execution_contract": "exact_offering_v1"}, "contract_violated"),
        ({"offering_id": EXACT["offering_id"]}, "contract_violated"),
        ({**EXACT, "execution_contract": False}, "contract_violated"),
        ({**EXACT, "execution_contract": None}, "contract_violated"),
        ({**EXACT, "offering_id": " "}, "contract_violated"),
        ({**EXACT, "operation": "stream"}, "contract_violated"),
        ({**EXACT, "params": {"messages": [], "model": MODEL}}, "contract_violated"),
        ({**EXACT, "offering_id": "fleet:ollama:gpu-02:inference:qwen3.5:27b"}, "offering_mismatch"),
        ({**EXACT, "offering_id": "fleet:ollama:default:embedding:qwen3.5:27b"}, "offering_mismatch"),
    ],
)
def test_version_2_that_names_an_offering(changes: dict[str, Any], code: Any) -> None:
    found = request(**changes)
    assert code_of(found) == code
    if code is None:
        _reply, body = written(DIALECT, found, Success(SAID, 0.0, 1.0))
        assert {name: body[name] for name in EXACT} == changes


@pytest.mark.parametrize("code", sorted(CODES))
def test_version_2_has_a_code_for_each_failure(code: str) -> None:
    reply, body = written(DIALECT, request(), Failure(code, "because"))
    policy = {"unsupported_operation", "invalid_token", "token_expired"}
    expected = (
        "configuration_error" if code == "unknown_instance" else "policy_error" if code in policy else "provider_error"
    )
    assert (body["code"], body["retryable"]) == (expected, expected == "provider_error")
    assert body["message"] == "because" and NEEDED.items() <= body.items()
    assert reply.message.properties.type == "llm.fleet.error"


@pytest.mark.parametrize(
    "stated, name", [(2, "version 2"), ("2", "version 2"), (2.0, "version 2"), (True, "versioned")]
)
def test_version_2_is_recognised_by_its_number(stated: Any, name: str) -> None:
    document = current("version2_request", protocol_version=stated)
    sent = message(document)
    assert dialect_of(sent.properties, sent.headers, document).name == name


def test_version_2_that_is_not_served_is_refused_in_its_own_words() -> None:
    document = current("version2_request")
    sent = message(document)
    dialect = dialect_of(sent.properties, sent.headers, document, served([]))
    found = dialect.read(sent, document, EMBED_LANE)
    assert found.failure is not None
    _reply, body = written(dialect, found, found.failure)
    assert (body["code"], body["retryable"]) == ("configuration_error", False)
    assert NEEDED.items() <= body.items()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PARAMS = [
    *("messages", "system", "tools", "tool_prefs", "thinking", "temperature", "schema", "params", "options", "text"),
    *("dimensions", "max_tokens", "stop", "response_format", "headers", "model"),
]
BLOCKS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "tool_use", "tool_result", "image", "audio", "video"])},
    optional=dict.fromkeys(("text", "data", "name", "input", "tool_use_id", "content", "source"), ANYTHING),
)
CHAT = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "assistant", "tool", "system"]) | ANYTHING,
            "content": st.lists(BLOCKS | ANYTHING, max_size=3) | ANYTHING,
            "tool_calls": st.lists(ANYTHING, max_size=2) | ANYTHING,
            "tool_call_id": ANYTHING,
            "name": ANYTHING,
        },
    )
    | ANYTHING,
    max_size=3,
)


@given(
    st.dictionaries(st.sampled_from([*REQUIRED, "request_type", "execution_contract", "offering_id"]), ANYTHING),
    st.dictionaries(st.sampled_from(PARAMS), ANYTHING) | st.fixed_dictionaries({"messages": CHAT}),
    st.sampled_from(["chat", "stream", "embed", "count_tokens", "image"]),
)
def test_version_2_of_any_content_is_read_and_answered(
    envelope: dict[str, Any], fields: dict[str, Any], operation: str
) -> None:
    document = {**current("version2_request", operation=operation, params=fields), **envelope}
    found = read(DIALECT, json.loads(json.dumps(document)))
    for outcome in (found.failure or Failure("inference_failed", "because"), Success(SAID, 0.0, 0.1)):
        _reply, body = written(DIALECT, found, outcome)
        assert (body["protocol_version"], body["operation"]) == (2, found.request_type)
        assert body.get("correlation_id") == found.correlation_id
