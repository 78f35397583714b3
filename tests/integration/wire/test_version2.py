# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol version 2 as its requester uses it, with a real broker and a real Ollama."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pika
import pytest

from .legionio_requester import CHAT_KEY, CHAT_MODEL, CONVERSATION, EMBED_KEY, EMBED_MODEL, Requester


@pytest.fixture(scope="module")
def worker(broker_with_topology: Any, ollama: Any, start_worker: Any) -> Iterator[Any]:
    lanes = [
        {"type": "chat", "model": CHAT_MODEL, "style": "shared", "suffixes": ["*", "ctx8192.boundary.eu"]},
        {"type": "chat", "model": CHAT_MODEL, "style": "offering"},
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
def test_chat_and_stream_are_answered_in_one_message(requester: Requester, operation: str) -> None:
    document = requester.request(operation)
    body = requester.answer(document)
    assert "Paris" in body["content"]
    assert (body["tool_calls"], body["finish_reason"], body["metadata"]) == ([], "end_turn", {})
    assert all(isinstance(count, int) and not isinstance(count, bool) and count > 0 for count in body["usage"].values())
    assert {name: body[name] for name in ECHO} == {name: document[name] for name in ECHO}
    assert body["trace_context"] == document["trace_context"]


def test_params_reach_the_model(requester: Requester) -> None:
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


def test_schema_shapes_the_answer(requester: Requester) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
        "required": ["colour"],
    }
    body = requester.answer(requester.request(params={"messages": CONVERSATION, "schema": {"schema": schema}}))
    assert json.loads(body["content"])["colour"] in ("red", "blue")


def test_embed_of_a_text_is_a_vector_and_of_a_list_vectors(requester: Requester) -> None:
    one = requester.answer(requester.request("embed", model=EMBED_MODEL, params={"text": "north"}), EMBED_KEY)
    assert len(one["content"]) == 384
    several = requester.answer(
        requester.request("embed", model=EMBED_MODEL, params={"text": ["north", "south"]}), EMBED_KEY
    )
    assert [len(vector) for vector in several["content"]] == [384, 384]
    assert several["content"][0] == pytest.approx(one["content"], abs=1e-3)
    assert several["usage"]["input_tokens"] > 0


def test_count_tokens_counts_as_a_chat_does(requester: Requester) -> None:
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
def test_unsupported_request_gets_an_error_in_its_own_format(
    requester: Requester, changes: dict[str, Any], code: str, retryable: bool
) -> None:
    document = requester.request(**changes)
    body = requester.answer(document)
    assert (body["code"], body["retryable"], body["metadata"]) == (code, retryable, {})
    assert body["message"] and body["error_class"]
    assert "content" not in body


@pytest.mark.parametrize("version", [3, "3", 7])
def test_request_of_another_version_is_refused_with_that_version(requester: Requester, version: Any) -> None:
    document = requester.request(protocol_version=version)
    requester.publish(document)
    properties, body = requester.reply()
    assert properties.type == "llm.fleet.error"
    assert (body["protocol_version"], body["operation"]) == (version, "chat")
    assert (body["correlation_id"], body["code"]) == (document["correlation_id"], "configuration_error")


def test_request_repeated_after_its_answer_gets_the_same_answer(requester: Requester) -> None:
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


@pytest.mark.parametrize("suffix", ["ctx8192", "ctx131072", "ctx8192.boundary.eu"])
def test_routing_key_with_another_context_window_reaches_the_worker(requester: Requester, suffix: str) -> None:
    assert "Paris" in requester.answer(requester.request(), f"{CHAT_KEY}.{suffix}")["content"]


@pytest.mark.parametrize("suffix", ["ctx8192.boundary.us", "boundary.eu", "elig.0a", "ctx8192.elig.0a"])
def test_routing_key_with_an_unlisted_suffix_has_no_queue(requester: Requester, suffix: str) -> None:
    with pytest.raises(pika.exceptions.UnroutableError):
        requester.publish(requester.request(), f"{CHAT_KEY}.{suffix}")


@pytest.mark.parametrize("exchange", ["llm.request", "llm.fleet"])
def test_request_to_one_node_reaches_it_by_either_exchange(requester: Requester, exchange: str) -> None:
    document = requester.request(provider_instance="gpu-01")
    body = requester.answer(document, "llm.fleet.offering.gpu-01.smollm2-135m.inference", exchange=exchange)
    assert "Paris" in body["content"] and body["provider_instance"] == "gpu-01"


def test_routing_key_of_any_style_reaches_the_worker(requester: Requester) -> None:
    body = requester.answer(requester.request(), "llm.request.ollama.chat.smollm2.135m")
    assert "Paris" in body["content"]


def test_property_that_contradicts_the_body_is_refused_to_the_bodys_requester(
    requester: Requester, broker_with_topology: Any
) -> None:
    thief = Requester(broker_with_topology.amqp_url)
    document = requester.request()
    body = requester.answer(document, reply_to=thief.reply_to)
    assert (body["code"], body["error_class"]) == ("provider_error", "ArgumentError")
    with pytest.raises(AssertionError, match="no reply"):
        thief.reply(within=0.5)
    thief.close()
