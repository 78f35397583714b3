# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Web pages of other people do not use a gateway without keys by a browser of its host."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet_gateway.settings.keys import ApiKeys, new_key

from .memory_front import CHAT, Client, Front, run

KEY, HASH = new_key()


async def status_of(front: Front, path: str = "/v1/models", body: Any = None, host: str = "", **headers: str) -> int:
    client = Client(path, body, "GET" if body is None else "POST", **headers)
    client.scope["headers"].append((b"host", host.encode()))  # type: ignore[attr-defined]
    await front.ask(client)
    return client.status


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:11435", "localhost", "LOCALHOST:11435", "[::1]:11435", "a.localhost", "10.0.0.1", socket.gethostname()],
)
def test_name_of_the_host_itself_is_answered(tmp_path: Path, host: str) -> None:
    async def test() -> None:
        assert await status_of(Front(tmp_path), host=host) == 200

    run(test())


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:11435", "localhost.evil.example", "x@localhost", "[::1", "::1"]
)
def test_rebound_name_is_refused(tmp_path: Path, host: str) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        for path in ("/v1/models", "/page/state", "/status", "/"):
            assert await status_of(front, path, host=host) == 403
        assert await status_of(front, "/api/chat", CHAT, host=host) == 403
        assert front.session.sent == []

    run(test())


@pytest.mark.parametrize(
    "origin, status",
    [
        ("http://localhost:11435", 200),
        ("https://chat.example", 200),
        ("vscode-webview://abc", 200),
        ("http://localhost:9999", 403),
        ("https://evil.example", 403),
        ("null", 403),
    ],
)
def test_page_of_another_origin_is_refused(tmp_path: Path, origin: str, status: int) -> None:
    async def test() -> None:
        front = Front(tmp_path, cors_origins=["https://chat.example"])
        assert await status_of(front, host="localhost:11435", origin=origin) == status

    run(test())


def test_allowed_hosts_and_all_origins_are_answered(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path, allowed_hosts=["llm.example"], cors_origins=["*"])
        assert await status_of(front, host="llm.example", origin="https://any.example") == 200
        assert await status_of(front, host="other.example") == 403

    run(test())


def test_gateway_with_keys_asks_for_the_key_instead(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "keys.yml"
        path.write_text(yaml.safe_dump({"keys": [{"name": "alice", "hash": HASH}]}))
        front = Front(tmp_path, keys=ApiKeys(str(path)), keys_file=str(path))
        asked = {"host": "llm.example", "origin": "https://any.example"}
        assert await status_of(front, **asked) == 401
        assert await status_of(front, **asked, authorization=f"Bearer {KEY}") == 200

    run(test())


@pytest.mark.parametrize("header", ["forwarded", "x_forwarded_for", "x_real_ip"])
def test_status_and_metrics_are_not_for_whom_a_proxy_of_the_host_asks(tmp_path: Path, header: str) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        for path in ("/status", "/metrics"):
            assert await status_of(front, path) == 200
            assert await status_of(front, path, **{header: "192.0.2.1"}) == 403

    run(test())
