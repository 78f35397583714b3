# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replies, compared with those that the protocol's description has, typed out."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.base import ReplyIdentity
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import Failure, Reply, Success
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.pika_messages import to_pika

from .requests import CORRELATION_ID, REPLY_TO, message, read, typed

WORKER = ReplyIdentity("gpu-01")
#: 2026-04-09T08:00:00.100Z
STARTED = 1775721600.1
CONTEXT = {
    "conversation_id": "conv_81",
    "message_id": "msg_12",
    "parent_message_id": "msg_11",
    "message_seq": 12,
    "request_id": "req_77",
    "exchange_id": "exch_002",
}
CHAT = {
    "model": "llama3.2:3b",
    "message": {"role": "assistant", "content": "Good morning."},
    "done": True,
    "done_reason": "stop",
    "total_duration": 900,
    "load_duration": 100,
    "prompt_eval_count": 31,
    "prompt_eval_duration": 300,
    "eval_count": 12,
    "eval_duration": 500,
}


def answer(sent: Any, request_type: str, model: str, outcome: Any, worker: ReplyIdentity = WORKER) -> tuple[Reply, Any]:
    dialect, request = read(sent, lane(request_type, model))
    reply = dialect.write(request, request.failure or outcome, worker)
    return reply, json.loads(reply.message.body)


def test_a_typed_chat() -> None:
    sent = typed({"request_type": "chat", "message_context": CONTEXT, "model": "llama3.2:3b"})
    reply, body = answer(sent, "chat", "llama3.2:3b", Success(CHAT, STARTED, 0.9134))
    assert body == {
        "message_context": CONTEXT,
        "request_type": "chat",
        "routing": {
            "provider": "ollama",
            "model": "llama3.2:3b",
            "tier": "fleet",
            "strategy": "fleet_dispatch",
            "latency_ms": 913,
        },
        "tokens": {"input": 31, "output": 12, "total": 43},
        "stop": {"reason": "stop"},
        "cost": {"estimated_usd": 0.0, "provider": "ollama", "model": "llama3.2:3b"},
        "timestamps": {
            "received": "2026-04-09T08:00:00.100Z",
            "provider_start": "2026-04-09T08:00:00.100Z",
            "provider_end": "2026-04-09T08:00:01.013Z",
            "returned": "2026-04-09T08:00:01.013Z",
        },
        "audit": {"fleet:execute": {"outcome": "success", "duration_ms": 913, "timestamp": "2026-04-09T08:00:01.013Z"}},
        "stream": False,
        "message": {"role": "assistant", "content": "Good morning."},
    }
    properties = reply.message.properties
    assert (reply.exchange, reply.routing_key) == ("", REPLY_TO)
    assert (properties.type, properties.correlation_id) == ("llm.fleet.response", CORRELATION_ID)
    assert (properties.content_type, properties.content_encoding) == ("application/json", "identity")
    assert (properties.priority, properties.delivery_mode, properties.expiration) == (0, 1, None)
    assert re.fullmatch(
        r"resp_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", properties.message_id or ""
    )
    assert reply.message.headers == {
        "legion_protocol_version": "2.0",
        "x-legion-llm-provider": "ollama",
        "x-legion-llm-model": "llama3.2:3b",
        "x-legion-llm-request-type": "chat",
        "x-legion-llm-schema-version": "1.0.0",
        "x-legion-llm-conversation-id": "conv_81",
        "x-legion-llm-message-id": "msg_12",
        "x-legion-llm-request-id": "req_77",
        "x-legion-hostname": "gpu-01",
    }


def test_a_typed_generate() -> None:
    result = {
        "response": "Once there was",
        "done": True,
        "done_reason": "length",
        "prompt_eval_count": 9,
        "eval_count": 20,
    }
    _reply, body = answer(
        typed({"request_type": "generate"}), "generate", "llama3.2:3b", Success(result, STARTED, 0.402)
    )
    assert body["message"] == {"role": "assistant", "content": "Once there was"}
    assert body["stop"] == {"reason": "length"}
    assert body["tokens"] == {"input": 9, "output": 20, "total": 29}
    assert body["message_context"] == {}


@pytest.mark.parametrize("request_type", ["embed", "embedding", "embeddings"])
def test_a_typed_embedding_has_its_real_token_count(request_type: str) -> None:
    result = {"embeddings": [[0.0123, -0.0456, 0.0789]], "prompt_eval_count": 5}
    sent = typed({"request_type": request_type, "message_context": {"request_id": "req_90"}, "input": "a"})
    reply, body = answer(sent, "embed", "nomic-embed-text", Success(result, STARTED, 0.018))
    assert body["embeddings"] == [[0.0123, -0.0456, 0.0789]]
    assert body["tokens"] == {"input": 5, "output": 0, "total": 5}
    assert body["stop"] == {"reason": None}
    assert body["request_type"] == request_type
    assert "message" not in body
    assert reply.message.headers["x-legion-llm-request-id"] == "req_90"


def test_tool_calls_and_thinking_are_passed_on() -> None:
    calls = [{"function": {"name": "f", "arguments": {}}}]
    result = {"message": {"role": "assistant", "content": "", "tool_calls": calls, "thinking": "hm"}, "done": True}
    _reply, body = answer(typed({"request_type": "chat"}), "chat", "m", Success(result, STARTED, 0.1))
    assert body["message"] == {"role": "assistant", "content": "", "tool_calls": calls, "thinking": "hm"}


@pytest.mark.parametrize("stream", [True, 1, 0, "no", {}])
def test_a_typed_stream_is_refused_in_the_words_of_lex_ollama(stream: Any) -> None:
    sent = typed({"request_type": "chat", "stream": stream, "message_context": {"request_id": "req_77"}})
    reply, body = answer(sent, "chat", "m", None)
    assert body == {
        "message_context": {"request_id": "req_77"},
        "request_type": "chat",
        "error": {
            "code": "unsupported_streaming",
            "message": "streaming is not available over the fleet bus",
            "retriable": False,
            "category": "validation",
            "provider": "ollama",
        },
        "worker_node": "gpu-01",
    }
    assert reply.message.properties.type == "llm.fleet.error"
    assert (reply.message.properties.message_id or "").startswith("err_")
    assert reply.message.headers["x-legion-fleet-error"] == "unsupported_streaming"


@pytest.mark.parametrize("stream", [False, None])
def test_a_typed_request_that_does_not_stream_is_served(stream: Any) -> None:
    _reply, body = answer(typed({"request_type": "chat", "stream": stream}), "chat", "m", Success(CHAT, STARTED, 0.1))
    assert body["message"]["content"] == "Good morning."


def test_an_unknown_type_is_refused_when_typed() -> None:
    _reply, body = answer(typed({"request_type": "rerank"}), "chat", "m", None)
    assert (body["error"]["code"], body["request_type"]) == ("unsupported_type", "rerank")


def test_the_schema_header_alone_makes_a_request_typed() -> None:
    sent = message({"reply_to": REPLY_TO, "stream": True}, {"x-legion-llm-schema-version": "1.0.0"})
    reply, _body = answer(sent, "chat", "m", None)
    assert reply.message.properties.type == "llm.fleet.error"


def plain(body: dict[str, Any]) -> Any:
    return message({"reply_to": REPLY_TO, "correlation_id": CORRELATION_ID, **body})


def test_a_plain_chat() -> None:
    reply, body = answer(plain({"messages": [], "stream": True}), "chat", "llama3.2:3b", Success(CHAT, STARTED, 0.9))
    assert body == {
        "correlation_id": CORRELATION_ID,
        "result": CHAT,
        "usage": {
            "input_tokens": 31,
            "output_tokens": 12,
            "total_duration": 900,
            "load_duration": 100,
            "prompt_eval_duration": 300,
            "eval_duration": 500,
        },
        "model": "llama3.2:3b",
        "provider": "ollama",
        "status": 200,
    }
    properties = reply.message.properties
    assert (reply.exchange, reply.routing_key) == ("", REPLY_TO)
    assert (properties.type, properties.correlation_id, properties.priority) == ("task", CORRELATION_ID, 0)
    assert (properties.content_type, properties.app_id) == ("application/json", "legionio.ollama")
    assert properties.message_id
    assert (properties.reply_to, properties.expiration) == (None, None)
    assert reply.message.headers == {"x-legion-hostname": "gpu-01"}


@pytest.mark.parametrize("long", ["x" * 300, "\u20ac" * 100, "\ud800"])
def test_a_correlation_id_that_the_property_cannot_carry_is_in_the_body(long: str) -> None:
    for sent in (plain({"correlation_id": long}), typed({"correlation_id": long}, correlation_id=None)):
        reply, body = answer(sent, "chat", "m:1", Success(CHAT, STARTED, 1.0))
        assert body["correlation_id"] == long
        assert reply.message.properties.correlation_id is None


def test_a_correlation_id_that_fits_is_in_the_property_of_a_typed_answer() -> None:
    reply, body = answer(typed({}), "chat", "m:1", Success(CHAT, STARTED, 1.0))
    assert reply.message.properties.correlation_id == CORRELATION_ID
    assert "correlation_id" not in body


def test_a_correlation_id_that_is_not_utf8_comes_back_to_the_byte() -> None:
    odd = b"\xe9-1".decode("utf-8", "surrogateescape")
    reply, _body = answer(typed({}, correlation_id=odd), "chat", "m:1", Success(CHAT, STARTED, 1.0))
    assert to_pika(reply.message).correlation_id == b"\xe9-1"


def test_headers_of_an_answer_have_no_more_than_255_characters_of_the_requester() -> None:
    """The broker ends the connection for a frame of headers that exceeds its limit of 128 KiB."""
    request = {"request_type": "t" * 200_000, "model": "m:1" + " " * 200_000, "message_context": {"request_id": "x"}}
    reply, _body = answer(typed(request), "chat", "m:1", Success(CHAT, STARTED, 1.0))
    assert reply.message.headers["x-legion-llm-request-type"] == "t" * 255
    assert max(len(str(value)) for value in reply.message.headers.values()) == 255


def test_headers_of_an_answer_have_no_half_of_a_surrogate_pair() -> None:
    reply, _body = answer(typed({"request_type": "\ud800"}), "chat", "m:1", Success(CHAT, STARTED, 1.0))
    assert reply.message.headers["x-legion-llm-request-type"] == "?"


def test_a_plain_embedding_has_no_usage() -> None:
    _reply, body = answer(plain({"input": "a"}), "embed", "m", Success({"embeddings": [[1.0]]}, STARTED, 0.1))
    assert (body["usage"], body["result"]) == (None, {"embeddings": [[1.0]]})


@pytest.mark.parametrize(
    "code, status",
    [("model_not_loaded", 404), ("ollama_unavailable", 503), ("inference_timeout", 504), ("inference_failed", 500)],
)
def test_a_plain_failure_says_why(code: str, status: int) -> None:
    _reply, body = answer(plain({}), "chat", "m", Failure(code, "because"))
    assert (body["status"], body["result"], body["usage"]) == (status, None, None)
    assert body["error"]["code"] == code
    assert body["error"]["message"] == "because"


def test_a_plain_unknown_type_is_chat() -> None:
    dialect, request = read(plain({"request_type": "embedding", "messages": [{}]}), lane("embed", "m"))
    assert (dialect.name, request.call, request.failure) == ("0.3.1", "chat", None)


def test_the_legacy_exchange_is_for_plain_answers_alone() -> None:
    legacy = ReplyIdentity("gpu-01", legacy_exchange="agent")
    reply, _body = answer(plain({}), "chat", "m", Success(CHAT, STARTED, 0.1), legacy)
    assert (reply.exchange, reply.routing_key) == ("agent", REPLY_TO)
    reply, _body = answer(typed({}), "chat", "m", Success(CHAT, STARTED, 0.1), legacy)
    assert reply.exchange == ""


@pytest.mark.parametrize("version", [1, 4, "4", 2.5])
def test_newer_protocols_are_refused_so_that_their_requesters_read_it(version: Any) -> None:
    envelope = {
        "protocol_version": version,
        "request_id": "req_1",
        "idempotency_key": "idem_1",
        "operation": "chat",
        "provider": "ollama",
        "provider_instance": "gpu-01",
        "model": "m",
        "trace_context": {"a": 1},
        "params": {"messages": []},
        "signed_token": "unsigned",
    }
    reply, body = answer(typed(envelope, app_id="lex-llm"), "chat", "m", None)
    assert reply.message.properties.type == "llm.fleet.error"
    # What a reader of version 2 looks at.
    assert (body["protocol_version"], body["operation"], body["correlation_id"]) == (version, "chat", CORRELATION_ID)
    assert (body["code"], body["retryable"], body["idempotency_key"]) == ("configuration_error", False, "idem_1")
    # What a reader of the typed dialect looks at.
    assert body["error"]["code"] == "unsupported_type"
    assert f"protocol_version {version}" in body["error"]["message"]
    assert "params" not in body and "signed_token" not in body
