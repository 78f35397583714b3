# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol version 2 from its requester's side: typed out with plain pika, through a real broker, to a real Ollama.

Nothing of the collection is imported. :func:`accepted` is how legion-llm 0.9 reads a reply: whatever is wrong with one,
it silently waits on.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pika
import pytest

MESSAGES = Path(__file__).resolve().parents[2] / "lab" / "legionio_messages"

CHAT_MODEL = "smollm2:135m"
EMBED_MODEL = "all-minilm:latest"
CHAT_KEY = "llm.fleet.inference.smollm2-135m"
EMBED_KEY = "llm.fleet.embed.all-minilm-latest"
CONVERSATION = [{"role": "user", "content": "What is the capital of France?"}]


class Requester:
    """A process of legion-llm 0.9: one connection, one reply queue, ids of its own for each request."""

    def __init__(self, amqp_url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self.reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
        self._channel.queue_declare(self.reply_to, durable=False, auto_delete=True)

    def request(self, operation: str = "chat", **changes: Any) -> dict[str, Any]:
        ends = datetime.fromtimestamp(int(time.time()) + 30, timezone.utc)
        return {
            **json.loads((MESSAGES / "version2_request.json").read_text()),
            "request_id": f"req_{uuid.uuid4()}",
            "correlation_id": f"req_{uuid.uuid4()}",
            "idempotency_key": f"idem_{uuid.uuid4()}",
            "operation": operation,
            "model": CHAT_MODEL,
            "params": {"messages": CONVERSATION},
            "reply_to": self.reply_to,
            "expires_at": ends.isoformat().replace("+00:00", "Z"),
            **changes,
        }

    def publish(
        self, document: dict[str, Any], key: str = CHAT_KEY, exchange: str = "llm.fleet", **others: Any
    ) -> None:
        properties = {
            "content_type": "application/json",
            "content_encoding": "identity",
            "type": "llm.fleet.request",
            "message_id": f"llm_fleet_req_{uuid.uuid4()}",
            "correlation_id": document.get("correlation_id"),
            "reply_to": document.get("reply_to"),
            "expiration": "30000",
            "delivery_mode": 1,
            "app_id": "lex-llm",
            "timestamp": int(time.time()),
            "headers": {"legion_protocol_version": "2.0", "x-legion-version": "1.9.43"},
            **others,
        }
        self._channel.basic_publish(
            exchange, key, json.dumps(document).encode(), pika.BasicProperties(**properties), mandatory=True
        )

    def reply(self, within: float = 60.0) -> tuple[pika.BasicProperties, dict[str, Any]]:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            method, properties, body = self._channel.basic_get(self.reply_to, auto_ack=True)
            if method is not None:
                return properties, json.loads(body)
            self._connection.sleep(0.02)
        raise AssertionError(f"no reply within {within} s")

    def answer(self, document: dict[str, Any], key: str = CHAT_KEY, **others: Any) -> dict[str, Any]:
        """Ask, and return the answer as the requester reads it."""
        self.publish(document, key, **others)
        properties, body = self.reply()
        assert accepted(properties, body, document)
        return body

    def close(self) -> None:
        self._connection.close()


def accepted(properties: pika.BasicProperties, body: dict[str, Any], document: dict[str, Any]) -> bool:
    """Whether a requester takes a message for the answer to its request."""
    return (
        properties.type in ("llm.fleet.response", "llm.fleet.error")
        and body.get("protocol_version") in (2, "2")
        and body.get("operation") == document["operation"]
        and bool(body.get("correlation_id"))
        and body["correlation_id"] == document["correlation_id"]
        and properties.correlation_id in (None, body["correlation_id"])
        and properties.content_encoding in (None, "identity")
    )


@pytest.fixture(scope="module")
def worker(broker_with_topology: Any, ollama: Any, start_worker: Any) -> Iterator[Any]:
    lanes = [
        {"type": "chat", "model": CHAT_MODEL, "style": "shared"},
        {"type": "embed", "model": EMBED_MODEL, "style": "shared"},
        {"type": "chat", "model": CHAT_MODEL},
    ]
    exchanges = ["llm.request", "llm.fleet"]
    with start_worker(
        broker_with_topology, node="gpu-01", ollama={"host": ollama.url}, lanes=lanes, exchanges=exchanges
    ) as log:
        yield log


@pytest.fixture
def requester(broker_with_topology: Any, worker: Any) -> Iterator[Requester]:
    requester = Requester(broker_with_topology.amqp_url)
    yield requester
    requester.close()


ECHO = ("request_id", "idempotency_key", "provider", "provider_instance", "model", "reply_to", "message_context")


@pytest.mark.parametrize("operation", ["chat", "stream"])
@pytest.mark.every_version
def test_a_conversation_is_answered_as_one_whole(requester: Requester, operation: str) -> None:
    document = requester.request(operation)
    body = requester.answer(document)
    assert "Paris" in body["content"]
    assert (body["tool_calls"], body["finish_reason"], body["metadata"]) == ([], "end_turn", {})
    assert all(type(count) is int and count > 0 for count in body["usage"].values())
    assert {name: body[name] for name in ECHO} == {name: document[name] for name in ECHO}
    assert body["trace_context"] == document["trace_context"]


def test_the_params_reach_the_model(requester: Requester) -> None:
    params = {
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Count to ten."}]}],
        "seed": 7,
        "temperature": 0,
        "params": {"num_predict": 3},
        "offering_metadata": {"limits": {"context_window": 8192}},
    }
    body = requester.answer(requester.request(params=params))
    assert (body["usage"]["output_tokens"], body["finish_reason"]) == (3, "max_tokens")


def test_a_schema_shapes_the_answer(requester: Requester) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
        "required": ["colour"],
    }
    body = requester.answer(requester.request(params={"messages": CONVERSATION, "schema": {"schema": schema}}))
    assert json.loads(body["content"])["colour"] in ("red", "blue")


def test_a_text_is_embedded_as_a_vector_and_a_list_as_vectors(requester: Requester) -> None:
    one = requester.answer(requester.request("embed", model=EMBED_MODEL, params={"text": "north"}), EMBED_KEY)
    assert len(one["content"]) == 384
    several = requester.answer(
        requester.request("embed", model=EMBED_MODEL, params={"text": ["north", "south"]}), EMBED_KEY
    )
    assert [len(vector) for vector in several["content"]] == [384, 384]
    assert several["content"][0] == pytest.approx(one["content"], abs=1e-3)
    assert several["usage"]["input_tokens"] > 0


def test_tokens_are_counted_as_a_chat_would_count_them(requester: Requester) -> None:
    said = requester.answer(requester.request(params={"messages": CONVERSATION, "max_tokens": 1}))
    counted = requester.answer(requester.request("count_tokens"))
    assert counted["content"] == str(said["usage"]["input_tokens"])
    longer = [*CONVERSATION, {"role": "assistant", "content": "Paris."}, {"role": "user", "content": "And of Norway?"}]
    more = requester.answer(requester.request("count_tokens", params={"messages": longer}))
    assert int(more["content"]) > int(counted["content"])


@pytest.mark.parametrize(
    "changes, code, retryable",
    [
        ({"provider_instance": "h200"}, "configuration_error", False),
        ({"operation": "moderate"}, "policy_error", False),
        ({"model": "llama3"}, "provider_error", True),
        ({"provider": "vllm"}, "provider_error", True),
        ({"request_type": "chat"}, "provider_error", True),
        ({"message_context": None}, "provider_error", True),
        (
            {"params": {"messages": [{"role": "user", "content": [{"type": "video", "data": ""}]}]}},
            "provider_error",
            True,
        ),
        ({"expires_at": "2026-01-01T00:00:00Z"}, "provider_error", True),
    ],
)
def test_what_is_not_served_is_an_error_that_its_requester_reads(
    requester: Requester, changes: dict[str, Any], code: str, retryable: bool
) -> None:
    document = requester.request(**changes)
    body = requester.answer(document)
    assert (body["code"], body["retryable"], body["metadata"]) == (code, retryable, {})
    assert body["message"] and body["error_class"]
    assert "content" not in body


@pytest.mark.parametrize("version", [3, "3", 7])
def test_another_version_is_refused_with_its_own_number(requester: Requester, version: Any) -> None:
    document = requester.request(protocol_version=version)
    requester.publish(document)
    properties, body = requester.reply()
    assert properties.type == "llm.fleet.error"
    assert (body["protocol_version"], body["operation"]) == (version, "chat")
    assert (body["correlation_id"], body["code"]) == (document["correlation_id"], "configuration_error")


def test_a_request_that_comes_again_after_its_answer_gets_the_same_answer(requester: Requester, worker: Path) -> None:
    document = requester.request(params={"messages": CONVERSATION, "temperature": 1})
    first = requester.answer(document)
    # As LegionIO puts a request into the queue again: most of its properties are lost.
    again = requester.answer(
        document,
        exchange="",
        type=None,
        correlation_id=None,
        reply_to=None,
        message_id=None,
        expiration=None,
        app_id=None,
        timestamp=None,
        headers={"x-retry-count": 1},
    )
    assert again == first
    assert worker.read_text().count(document["correlation_id"]) == 2


def test_the_key_of_any_routing_style_reaches_the_worker(requester: Requester) -> None:
    body = requester.answer(requester.request(), "llm.request.ollama.chat.smollm2.135m")
    assert "Paris" in body["content"]


def test_a_property_that_contradicts_the_body_is_refused_to_whom_the_body_names(
    requester: Requester, broker_with_topology: Any
) -> None:
    thief = Requester(broker_with_topology.amqp_url)
    document = requester.request()
    body = requester.answer(document, reply_to=thief.reply_to)
    assert (body["code"], body["error_class"]) == ("provider_error", "ArgumentError")
    with pytest.raises(AssertionError, match="no reply"):
        thief.reply(within=0.5)
    thief.close()
