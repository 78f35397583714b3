# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The body of a request: its limits of size and time, and the model that it names."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fleet_gateway._fleet.json_size import MAX_VALUES
from fleet_gateway.domain.errors import GatewayError
from fleet_gateway.http.body import LONGEST_MODEL, ClientGoneError, document_of, model_of, received
from fleet_gateway.settings.config import LimitsConfig

from .memory_front import Client

LIMITS = LimitsConfig(body_bytes=1024, body_seconds=0.05)


def body_of(client: Client) -> bytes:
    return asyncio.run(received(client.scope, client.receive, LIMITS))  # type: ignore[arg-type]


def refusal_of(client: Client) -> tuple[int, str]:
    with pytest.raises(GatewayError) as refused:
        body_of(client)
    return refused.value.status, refused.value.code


def test_received_parts_up_to_the_limit_are_one_body() -> None:
    client = Client("/api/chat", content_length="1024")
    client.sends(b"a" * 1000, b"", b"b" * 24)
    assert body_of(client) == b"a" * 1000 + b"b" * 24
    assert client.left == 0


def test_received_body_that_is_announced_too_large_is_refused_before_it_comes() -> None:
    client = Client("/api/chat", b"x", content_length="1025")
    assert refusal_of(client) == (413, "request_too_large")
    assert client.left == 1


@pytest.mark.parametrize("headers", [{}, {"content_length": "1"}, {"content_length": "-1"}])
def test_received_body_larger_than_announced_is_refused_at_the_limit(headers: dict[str, str]) -> None:
    client = Client("/api/chat", **headers)
    client.sends(b"x" * 1000, b"x" * 25, b"x")
    assert refusal_of(client) == (413, "request_too_large")
    assert client.left == 1


def test_received_body_that_does_not_come_is_refused_in_time() -> None:
    client = Client("/api/chat")
    client.hangs()
    assert refusal_of(client) == (408, "request_timeout")


def test_received_body_of_a_client_that_has_gone_is_not_returned() -> None:
    async def test() -> None:
        client = Client("/api/chat")
        client.sends(b"x", b"y")
        client._parts[1:] = [{"type": "http.disconnect"}]
        with pytest.raises(ClientGoneError):
            await received(client.scope, client.receive, LIMITS)  # type: ignore[arg-type]

    asyncio.run(test())


@pytest.mark.parametrize("body", [b'{"model": "m"}', b'\xff\xfe{\x00"\x00a\x00"\x00:\x001\x00}\x00', b"{}"])
def test_document_of_an_object_is_the_object(body: bytes) -> None:
    assert isinstance(document_of(body), dict)


@pytest.mark.parametrize(
    "body, status, says",
    [
        (b"", 400, "is not JSON"),
        (b"no JSON", 400, "is not JSON"),
        (b'{"a": "\xff"}', 400, "is not JSON"),
        (b"[]", 400, "is not a JSON object"),
        (b"7", 400, "is not a JSON object"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, 400, "100 levels"),
        (b'{"a": [' + b"0," * MAX_VALUES + b"0]}", 413, f"{MAX_VALUES} values"),
        # The number of values counts before anything else, because a parser would need the memory for them.
        (b"[" + b"0," * MAX_VALUES + b"0]", 413, f"{MAX_VALUES} values"),
    ],
)
def test_document_of_another_body_is_refused(body: bytes, status: int, says: str) -> None:
    with pytest.raises(GatewayError, match=says) as refused:
        document_of(body)
    assert refused.value.status == status


@pytest.mark.parametrize(
    "document, model",
    [
        ({"model": "m:1"}, "m:1"),
        ({"name": "m:1"}, "m:1"),
        ({"model": "", "name": "m:1"}, "m:1"),
        ({"model": "m:1", "name": "other"}, "m:1"),
        ({"model": "x" * LONGEST_MODEL}, "x" * LONGEST_MODEL),
    ],
)
def test_model_of_a_request_is_its_model_or_its_name(document: dict[str, Any], model: str) -> None:
    assert model_of(document) == model


def test_model_of_a_long_name_is_refused_with_a_short_message() -> None:
    with pytest.raises(GatewayError) as caught:
        model_of({"model": "x" * (LONGEST_MODEL + 1)})
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("document", [{}, {"model": " "}, {"model": 5}, {"model": None, "name": []}])
def test_model_of_a_request_without_a_model_is_refused_with_the_code_of_openai(document: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        model_of(document)
    assert (caught.value.status, caught.value.code) == (400, "missing_required_parameter")
