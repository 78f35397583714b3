# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed requests of protocol version 2, signed with the standard library only, at a worker that requires tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .legionio_requester import CHAT_MODEL, Requester, accepted, signed

SECRET = "ab" * 32


@pytest.fixture(scope="module")
def worker(broker_with_topology: Any, ollama: Any, start_worker: Any) -> Iterator[Path]:
    with start_worker(
        broker_with_topology,
        secrets={"cluster-secret": SECRET + "\n"},
        ollama={"host": ollama.url},
        lanes=[{"type": "chat", "model": CHAT_MODEL, "style": "shared"}, {"type": "chat", "model": CHAT_MODEL}],
        exchanges=["llm.fleet"],
        protocol={"secret_credential": "cluster-secret", "decrypt": True, "versions": [2, 3]},
    ) as log:
        yield log


@pytest.fixture
def requester(broker_with_topology: Any, worker: Path) -> Iterator[Requester]:
    requester = Requester(broker_with_topology.amqp_url)
    yield requester
    requester.close()


def test_signed_request_is_answered(requester: Requester) -> None:
    assert "Paris" in requester.answer(signed(requester.request(), SECRET))["content"]


def test_signed_request_sent_again_gets_the_same_answer(requester: Requester) -> None:
    document = signed(requester.request(), SECRET)
    first = requester.answer(document)
    assert requester.answer(document) == first
    lost = {"type": None, "correlation_id": None, "reply_to": None, "message_id": None, "headers": {"x-retry-count": 1}}
    assert requester.answer(document, **lost) == first


def refused(requester: Requester, document: dict[str, Any]) -> str:
    body = requester.answer(document)
    assert (body["code"], body["error_class"], body["retryable"]) == ("policy_error", "PolicyError", False)
    return str(body["message"])


def test_request_without_a_token_is_refused(requester: Requester) -> None:
    assert "not signed" in refused(requester, requester.request())


@pytest.mark.parametrize(
    "secret, changes, text",
    [
        ("cd" * 32, {}, "signature"),
        (SECRET, {"aud": "another-worker"}, "not for"),
        (SECRET, {"iss": "another-issuer"}, "not issued by"),
        (SECRET, {"exp": int(time.time()) - 3600}, "expired"),
        (SECRET, {"nbf": int(time.time()) + 3600}, "clocks"),
        (SECRET, {"model": "llama3"}, "claim model"),
        (SECRET, {"params": {"messages": []}}, "claim params"),
        (SECRET, {"algorithm": "none"}, "HS256"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_request_with_a_wrong_token_is_refused(
    requester: Requester, secret: str, changes: dict[str, Any], text: str
) -> None:
    assert text in refused(requester, signed(requester.request(), secret, **changes))


def test_request_with_the_token_of_another_one_is_refused(requester: Requester, worker: Path) -> None:
    document = signed(requester.request(), SECRET)
    requester.answer(document)
    assert "another request" in refused(requester, {**document, "ttl": 5})
    assert "the capital" not in worker.read_text() and document["signed_token"][:40] not in worker.read_text()


def test_request_with_an_oversized_token_is_refused(requester: Requester) -> None:
    assert "too large" in refused(requester, requester.request(signed_token="x" * (2 * 1024 * 1024)))


def test_encrypted_request_is_answered_in_clear(requester: Requester) -> None:
    document = signed(requester.request(), SECRET)
    requester.publish(document, seal=SECRET)
    properties, body = requester.reply()
    assert accepted(properties, body, document)
    assert "Paris" in body["content"] and "iv" not in properties.headers


def test_encrypted_request_that_cannot_be_decrypted_is_dead_lettered(
    requester: Requester, broker_with_topology: Any, worker: Path
) -> None:
    document = requester.request()
    requester.publish(document, "llm.request.ollama.chat.smollm2.135m", seal="cd" * 32)
    dead = requester.get("ollama.dlx.queue")
    assert dead.startswith(b"gcm:")
    line = next(line for line in worker.read_text().splitlines() if "outcome=undecryptable" in line)
    assert "compare the cluster secrets" in line


def test_request_of_version_3_is_answered_with_a_response(requester: Requester) -> None:
    document = requester.request(
        "stream_chat",
        protocol_version=3,
        execution_contract="exact_offering_v1",
        offering_id=f"fleet:ollama:default:inference:{CHAT_MODEL}",
        params={"messages": [{"id": "msg_1", "role": "user", "content": "What is the capital of France?"}]},
    )
    exact = {name: document[name] for name in ("execution_contract", "offering_id")}
    requester.publish(signed(document, SECRET, **exact))
    properties, body = requester.reply()
    assert (properties.type, body["protocol_version"], body["operation"]) == ("llm.fleet.response", 3, "stream_chat")
    assert "Paris" in body["response"]["text"] and body["response"]["stop_reason"] == "end_turn"
    assert {name: body[name] for name in exact} == exact


def test_request_of_an_older_dialect_needs_no_token(requester: Requester) -> None:
    document = {
        "request_type": "chat",
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": "Hello"}],
        "reply_to": requester.reply_to,
        "correlation_id": "c-1",
    }
    requester.publish(document)
    properties, body = requester.reply()
    assert (properties.type, properties.correlation_id) == ("llm.fleet.response", "c-1")
    assert body["message"]["content"]
