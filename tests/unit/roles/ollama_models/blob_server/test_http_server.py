# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of the blob server that are slow: they must not keep it from the others."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blob_server import connections, http_server
from blob_server._mirror.peers.signature import RequestSigner
from blob_server.http_server import BlobServer
from blob_server.library import SharedBlob

SECRET = "0123456789abcdef" * 4
TARGET = f"/v1/blobs/sha256-{'0' * 64}"
SIZE = 8 * 1024 * 1024

Connect = Callable[[], socket.socket]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Connect to a server with one blob, which sends one answer with bytes at a time."""
    path = tmp_path / "blob"
    path.write_bytes(bytes(SIZE))

    class Library:
        def find(self, _digest: str) -> SharedBlob:
            return SharedBlob(os.open(path, os.O_RDONLY), SIZE)

    library: Any = Library()
    server = BlobServer(("127.0.0.1", 0), library, RequestSigner(SECRET), uploads=1, rate=None)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    with contextlib.ExitStack() as opened:

        def made() -> socket.socket:
            # A small buffer, so that the server notices how slowly its bytes are taken.
            client = opened.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            client.settimeout(20)
            client.connect(("127.0.0.1", server.server_port))
            return client

        yield made
    server.shutdown()
    server.server_close()


def request(target: str = TARGET, secret: str = SECRET, **headers: str) -> bytes:
    signed = RequestSigner(secret).signed(target, {"host": "h", **headers})
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
    return f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode()


def status(client: socket.socket) -> int:
    received = client.recv(4096)
    return int(received.split()[1]) if received else 0


def is_over(client: socket.socket, within: float) -> bool:
    """Return whether the server ends a connection in some seconds."""
    client.settimeout(within)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_stranger_that_sends_its_request_byte_by_byte_is_cut_off(connect: Connect, monkeypatch: Any) -> None:
    monkeypatch.setattr(http_server, "FIRST_REQUEST", 0.5, raising=False)
    client = connect()
    start = time.monotonic()
    with contextlib.suppress(OSError):
        for byte in request()[:60]:
            client.sendall(bytes([byte]))
            time.sleep(0.1)
            assert time.monotonic() - start < 3, "it is still served"


def test_neighbour_may_wait_longer_between_its_requests(connect: Connect, monkeypatch: Any) -> None:
    monkeypatch.setattr(http_server, "FIRST_REQUEST", 0.3, raising=False)
    client = connect()
    for _request in range(2):
        client.sendall(request(f"{TARGET}/pieces"))
        assert status(client) == 200
        time.sleep(0.8)


def test_stranger_is_hung_up_on_after_its_refusal(connect: Connect) -> None:
    client = connect()
    client.sendall(request(secret="x" * 32))
    assert status(client) == 401
    assert is_over(client, 2)


def test_strangers_of_one_address_take_few_connections(connect: Connect, monkeypatch: Any) -> None:
    monkeypatch.setattr(connections, "STRANGERS", 3)
    known = [connect() for _client in range(3)]
    for client in known:
        client.sendall(request(f"{TARGET}/pieces"))
        assert status(client) == 200
    strangers = [connect() for _client in range(3)]
    refused = connect()
    assert status(refused) == 503
    for client in strangers:
        client.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        client = connect()
        with contextlib.suppress(OSError):
            client.sendall(request(f"{TARGET}/pieces"))
            if status(client) == 200:
                return
    pytest.fail("the places of strangers that went are not free")


def upload_is_free(
    connect: Connect, seconds: float, receive: Callable[[socket.socket], object] = lambda _slow: None
) -> bool:
    """Return whether another client gets the only upload within some seconds of a client that wants the whole blob.

    :param receive: called again and again with the connection of that client.
    """
    slow, other = connect(), connect()
    slow.sendall(request(range=f"bytes=0-{SIZE - 1}"))
    assert status(slow) == 206
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            receive(slow)
        other.sendall(request(range="bytes=0-9"))
        if status(other) == 206:
            return True
        time.sleep(0.1)
    return False


def test_slow_receiver_does_not_keep_the_upload(connect: Connect, monkeypatch: Any) -> None:
    monkeypatch.setattr(http_server, "PART_SECONDS", 0.5, raising=False)
    assert upload_is_free(connect, 10, lambda slow: slow.recv(512)), "the slow receiver keeps the only upload"


def test_receiver_that_takes_nothing_does_not_keep_the_upload(connect: Connect, monkeypatch: Any) -> None:
    """Its node was switched off, or its process is stopped."""
    monkeypatch.setattr(http_server, "SILENT_RECEIVER", 0.5, raising=False)
    assert upload_is_free(connect, 15), "the receiver keeps the only upload"


def test_receiver_that_limits_itself_gets_all_bytes(connect: Connect, monkeypatch: Any) -> None:
    """Twelve threads share 64 KiB a second: each takes a lump of 64 KiB every 12 seconds. Here, time runs 15 times."""
    monkeypatch.setattr(http_server, "PART_SECONDS", http_server.PART_SECONDS / 15)
    monkeypatch.setattr(http_server._Handler, "timeout", http_server.SILENCE / 15)
    client = connect()
    size = 640 * 1024
    client.sendall(request(range=f"bytes=0-{size - 1}"))
    assert status(client) == 206
    got = 4096
    while got < size - 4096:
        lump = 0
        while lump < 64 * 1024 and got < size - 4096:
            received = client.recv(64 * 1024 - lump)
            assert received, f"cut off after {got} bytes"
            lump, got = lump + len(received), got + len(received)
        time.sleep(12 / 15)


def test_receiver_at_twice_the_least_rate_gets_all_bytes(connect: Connect, monkeypatch: Any) -> None:
    monkeypatch.setattr(http_server, "PART", 64 * 1024)
    monkeypatch.setattr(http_server, "PART_SECONDS", 1.0, raising=False)
    client = connect()
    size = 512 * 1024
    client.sendall(request(range=f"bytes=0-{size - 1}"))
    got, start = 0, time.monotonic()
    while got < size:
        received = client.recv(8 * 1024)
        assert received, f"cut off after {got} bytes"
        got += len(received)
        time.sleep(max(0.0, start + got / (128 * 1024) - time.monotonic()))
