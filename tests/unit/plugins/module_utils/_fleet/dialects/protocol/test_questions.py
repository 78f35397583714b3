# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions in versions 2 and 3: what a worker makes of them is what was asked."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, Optional

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects import dialect_of
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.protocol.questions import (
    RequesterSettings,
    requester_dialect,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.encrypted_bodies import BodyCipher
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.errors import (
    FleetAnswerError,
    InvalidQuestionError,
    UnreadableAnswerError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import (
    Failure,
    Message,
    Properties,
    Question,
    Request,
    Success,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.tokens import TokenSettings, check

from .protocol_messages import CHAT_LANE, EMBED_LANE, MODEL, NODE, literal

REPLY_TO = "llm.fleet.reply.0f1e2d3c4b5a6978"
SECRET = "ab" * 32
USER = {"role": "user", "content": "Hi"}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Now", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "call_1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}


def asked(version: int, call: str = "chat", settings: Optional[RequesterSettings] = None, **arguments: Any) -> Message:
    ask = requester_dialect(version, settings or RequesterSettings()).ask
    assert ask is not None
    return ask(Question(call, MODEL, arguments, seconds=29.5), "req_b2", REPLY_TO)


def understood(version: int, reply: Message) -> Any:
    understand = requester_dialect(version, RequesterSettings()).understand
    assert understand is not None
    return understand(reply)


def read(sent: Message, lane: Any = CHAT_LANE) -> tuple[Any, Request]:
    document = json.loads(sent.body)
    dialect = dialect_of(sent.properties, sent.headers, document)
    return dialect, dialect.read(sent, document, lane)


@pytest.mark.parametrize("version", [2, 3])
def test_a_question_has_the_envelope_of_its_version(version: int) -> None:
    sent = asked(version, messages=[USER])
    document = json.loads(sent.body)
    expected = literal(f"version{version}_request")
    assert expected.keys() - {"identity"} == document.keys()
    for name in ("protocol_version", "provider", "model", "correlation_id", "reply_to"):
        assert document[name] == (expected[name] if name != "correlation_id" else "req_b2")
    assert document["signed_token"] == "unsigned"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["expires_at"])
    assert not {"schema_version", "request_type", "fleet_correlation_id"} & document.keys()
    properties = sent.properties
    assert (properties.type, properties.correlation_id, properties.reply_to) == (
        "llm.fleet.request",
        "req_b2",
        REPLY_TO,
    )
    assert (properties.priority, properties.expiration, properties.content_encoding) == (None, "29500", "identity")
    assert (properties.message_id or "").startswith("llm_fleet_req_")
    assert sent.headers == {"legion_protocol_version": "2.0"}


def test_two_questions_have_no_id_in_common() -> None:
    one, other = (json.loads(asked(2, messages=[USER]).body) for _time in range(2))
    assert all(one[name] != other[name] for name in ("request_id", "idempotency_key"))
    assert one["request_id"] != one["correlation_id"]


ARGUMENTS: list[dict[str, Any]] = [
    {"messages": [USER]},
    {"messages": [USER], "options": {"temperature": 0.5, "seed": 7, "num_predict": 3, "stop": ["x"]}},
    {"messages": [USER], "format": {"type": "object", "properties": {"a": {"type": "string"}}}},
    {"messages": [USER], "format": "json", "keep_alive": "10m"},
    {"messages": [USER], "think": True},
    {"messages": [USER], "think": "low", "tools": [TOOL]},
    {"messages": [{"role": "user", "content": "What is it?", "images": [PIXEL]}]},
    {
        "messages": [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "-3", "tool_call_id": "call_1", "tool_name": "weather"},
        ]
    },
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=range(len(ARGUMENTS)))
@pytest.mark.parametrize("version", [2, 3])
def test_a_worker_reads_a_chat_as_it_was_asked(version: int, arguments: dict[str, Any]) -> None:
    dialect, found = read(asked(version, **arguments))
    assert (dialect.name, found.failure, found.ignored) == (f"version {version}", None, ())
    assert found.arguments == arguments


@pytest.mark.parametrize("version", [2, 3])
def test_a_worker_reads_texts_to_embed_as_they_were_asked(version: int) -> None:
    arguments = {"input": ["a", "b"], "dimensions": 64, "truncate": False}
    _dialect, found = read(asked(version, "embed", **arguments), EMBED_LANE)
    assert (found.failure, found.arguments) == (None, arguments)


@pytest.mark.parametrize("version", [2, 3])
def test_a_system_text_becomes_the_first_message(version: int) -> None:
    _dialect, found = read(asked(version, messages=[USER], system="Be brief."))
    assert found.arguments["messages"][0] == {"role": "system", "content": "Be brief."}


def test_there_is_no_generate() -> None:
    with pytest.raises(InvalidQuestionError, match="generate"):
        asked(2, "generate", prompt="x")


@pytest.mark.parametrize("version", [2, 3])
def test_a_question_is_signed_and_encrypted(version: int) -> None:
    tokens, cipher = TokenSettings(SECRET), BodyCipher(SECRET)
    sent = asked(version, settings=RequesterSettings("gpu-01", tokens, cipher), messages=[USER])
    assert sent.body.startswith(b"gcm:") and b"messages" not in sent.body
    document = json.loads(cipher.decrypted(sent).body)
    assert document["provider_instance"] == "gpu-01"
    check(document["signed_token"], document, tokens, received=float(sent.properties.timestamp or 0))
    assert SECRET not in repr(RequesterSettings("gpu-01", tokens, cipher))


@pytest.mark.parametrize("version", [2, 3])
def test_an_answer_is_understood(version: int) -> None:
    dialect, found = read(asked(version, messages=[USER]))
    said = {"role": "assistant", "content": "Cold.", "tool_calls": [CALL], "thinking": "North."}
    result = {"message": said, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}
    answer = understood(version, dialect.write(found, Success(result, 0.0, 0.1), NODE).message)
    assert (answer.text, answer.node, answer.model) == ("Cold.", "gpu-01", MODEL)
    assert (answer.input_tokens, answer.output_tokens) == (3, 2)
    assert answer.message["tool_calls"] == [CALL]
    assert answer.message.get("thinking") == ("North." if version == 2 else None)


@pytest.mark.parametrize("texts", ["a", ["a"], ["a", "b"]])
@pytest.mark.parametrize("version", [2, 3])
def test_embeddings_are_understood(version: int, texts: Any) -> None:
    dialect, found = read(asked(version, "embed", input=texts), EMBED_LANE)
    vectors = [[0.5, 1.0]] * (1 if isinstance(texts, str) else len(texts))
    reply = dialect.write(found, Success({"embeddings": vectors, "prompt_eval_count": 4}, 0.0, 0.1), NODE)
    answer = understood(version, reply.message)
    assert (answer.embeddings, answer.text, answer.input_tokens) == (vectors, None, 4)


@pytest.mark.parametrize("version", [2, 3])
def test_an_error_is_raised_with_its_code(version: int) -> None:
    dialect, found = read(asked(version, messages=[USER]))
    reply = dialect.write(found, Failure("ollama_unavailable", "it is down\x1b[2J\nPLAY RECAP"), NODE)
    with pytest.raises(FleetAnswerError, match="provider_error: it is down") as caught:
        understood(version, reply.message)
    assert (caught.value.details["fleet_code"], caught.value.details["retriable"]) == ("provider_error", True)
    assert str(caught.value).isprintable()


def test_an_answer_of_a_worker_that_knows_older_dialects_alone_is_understood() -> None:
    body = {"message": {"role": "assistant", "content": "Cold."}, "tokens": {"input": 3}, "routing": {"model": MODEL}}
    reply = Message(Properties(type="llm.fleet.response"), {}, json.dumps(body).encode())
    assert understood(2, reply).text == "Cold."
    with pytest.raises(UnreadableAnswerError):
        understood(2, replace(reply, body=b"x"))
