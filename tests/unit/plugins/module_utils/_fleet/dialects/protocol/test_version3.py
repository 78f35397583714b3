# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol version 3, against the literal messages of its branch."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects import dialect_of, served
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.protocol.offerings import digest_id
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.protocol.version3 import DIALECT
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import CODES, Failure, Success

from .protocol_messages import CHAT_LANE, EMBED_LANE, MODEL, code_of, current, literal, message, read, written

SAID = {
    "message": {"role": "assistant", "content": "Hello!", "thinking": "A greeting."},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 19,
    "eval_count": 3,
}


def request(**changes: Any) -> Any:
    return read(DIALECT, current("version3_request", **changes))


def test_the_literal_request_asks_ollama_for_what_it_says() -> None:
    found = request()
    assert found.failure is None
    assert found.arguments == {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "options": {"temperature": 0.2, "top_p": 0.9, "seed": 7},
    }
    assert found.ignored == ()


def test_the_literal_reply_is_what_the_answer_is() -> None:
    reply, body = written(DIALECT, request(), Success(SAID, 0.0, 1.0))
    assert body == literal("version3_reply")
    assert reply.message.properties.type == "llm.fleet.response"


def test_the_literal_error_is_what_a_failure_is() -> None:
    found = request(params={"messages": [], "model": MODEL})
    _reply, body = written(DIALECT, found, found.failure)
    assert body == literal("version3_error")


@pytest.mark.parametrize(
    "changes, code, told",
    [
        ({"execution_contract": None}, "contract_violated", "contract_error"),
        ({"offering_id": None}, "contract_violated", "contract_error"),
        ({"offering_id": digest_id("ollama", "gpu-01", MODEL)}, None, None),
        ({"offering_id": digest_id("ollama", "gpu-02", MODEL)}, "offering_mismatch", "provider_error"),
        ({"operation": "chat"}, None, None),
        ({"operation": "stream"}, "unsupported_operation", "contract_error"),
        ({"operation": "moderate"}, "unsupported_operation", "contract_error"),
        ({"params": {}}, "contract_violated", "contract_error"),
        ({"params": {"messages": [], "seed": 1, "params": {"seed": 2}}}, "contract_violated", "contract_error"),
        ({"params": {"messages": [{"role": "user", "content": 7}]}}, "unsupported_type", "contract_error"),
        ({"caller": None}, "invalid_envelope", "provider_error"),
    ],
)
def test_version_3_is_strict(changes: dict[str, Any], code: Any, told: Any) -> None:
    found = request(**changes)
    assert code_of(found) == code
    if found.failure is not None:
        _reply, body = written(DIALECT, found, found.failure)
        assert (body["code"], body["protocol_version"]) == (told, 3)


def test_version_3_answers_an_embedding_with_a_response() -> None:
    offering = {"offering_id": f"local:ollama:gpu-01:embedding:{MODEL}", "operation": "embed"}
    for text, embedding in (("north", [0.5, 1.0]), (["a", "b"], [[0.5, 1.0], [0.5, 1.0]])):
        found = read(DIALECT, current("version3_request", **offering, params={"text": text}), EMBED_LANE)
        assert (found.failure, found.arguments) == (None, {"input": text})
        vectors = [embedding] if isinstance(text, str) else embedding
        _reply, body = written(DIALECT, found, Success({"embeddings": vectors, "prompt_eval_count": 2}, 0.0, 0.1))
        assert body["response"]["embedding"] == embedding
        assert body["response"]["usage"]["input_tokens"] == 2


def test_version_3_counts_tokens() -> None:
    _reply, body = written(DIALECT, request(operation="count_tokens"), Success(SAID, 0.0, 0.1))
    assert (body["response"]["text"], body["response"]["usage"]["input_tokens"]) == ("19", 19)


@pytest.mark.parametrize("code", sorted(CODES))
def test_version_3_has_a_code_for_each_failure(code: str) -> None:
    _reply, body = written(DIALECT, request(), Failure(code, "because"))
    never = {"configuration_error", "policy_error", "contract_error"}
    assert body["code"] in {*never, "provider_error"}
    expected = code == "invalid_envelope" or (body["code"] not in never and CODES[code][1])
    assert body["retryable"] == expected
    assert (body["execution_contract"], body["operation"]) == ("exact_offering_v1", "stream_chat")


@pytest.mark.parametrize("versions, name", [((2, 3), "version 3"), ((2,), "versioned"), ((), "versioned")])
def test_version_3_is_served_where_it_is_wanted(versions: tuple[int, ...], name: str) -> None:
    document = current("version3_request")
    sent = message(document)
    dialect = dialect_of(sent.properties, sent.headers, document, served(versions))
    assert dialect.name == name
    if name == "versioned":
        found = dialect.read(sent, document, CHAT_LANE)
        assert found.failure is not None
        _reply, body = written(dialect, found, found.failure)
        assert (body["protocol_version"], body["operation"]) == (3, "stream_chat")
