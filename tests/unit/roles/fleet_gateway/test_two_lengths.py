# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests with two lengths, which a proxy and the gateway may read as different requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fleet_gateway.http.two_lengths import TwoLengths
from starlette.types import Receive, Scope, Send

from .memory_front import Client


class Behind:
    """The application behind the guard."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})


def passed(client: Client) -> Behind:
    """Return the application behind the guard after a request."""
    behind = Behind()
    asyncio.run(TwoLengths(behind)(client.scope, client.receive, client.send))  # type: ignore[arg-type]
    return behind


@pytest.mark.parametrize("coding", ["chunked", "gzip, chunked", "identity", ""])
@pytest.mark.parametrize("length", ["0", "5", "odd"])
def test_guard_request_with_two_lengths_is_refused_and_ends_its_connection(coding: str, length: str) -> None:
    client = Client("/api/chat", b"0\r\n\r\nGET /admin", content_length=length, transfer_encoding=coding)
    assert not passed(client).asked
    assert (client.status, client.headers["connection"], client.is_complete) == (400, "close", True)
    assert "not both" in client.document["error"]
    assert client.left == 1, "the guard reads bytes whose length is not certain"


def test_guard_order_of_the_headers_does_not_matter() -> None:
    client = Client("/api/chat", b"x", transfer_encoding="chunked", host="h", content_length="1")
    assert not passed(client).asked
    assert client.status == 400


def test_guard_refusal_has_the_format_of_the_interface() -> None:
    client = Client("/v1/messages", b"x", content_length="1", transfer_encoding="chunked")
    passed(client)
    assert client.document["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "headers",
    [{}, {"content_length": "1"}, {"transfer_encoding": "chunked"}, {"content_length_x": "1", "te": "chunked"}],
)
def test_guard_request_with_at_most_one_length_passes(headers: dict[str, str]) -> None:
    client = Client("/api/chat", b"x", **headers)
    assert passed(client).asked == [client.scope]
    assert client.status == 204


def test_guard_start_of_the_server_passes() -> None:
    client = Client("/")
    client.scope = {"type": "lifespan"}
    assert passed(client).asked == [{"type": "lifespan"}]
