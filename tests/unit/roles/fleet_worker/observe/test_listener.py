# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listener of status and metrics: bounds for clients that say nothing, and answers for those that ask."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from fleet_worker import __file__ as package_file
from fleet_worker.observe import listener as listener_module
from fleet_worker.observe.listener import Listener
from fleet_worker.observe.status import StatusServer, ask, table

WITHIN = 30.0


def echo(received: bytes) -> Optional[bytes]:
    """A request is a line; the answer repeats it."""
    return received if received.endswith(b"\n") else None


class Served:
    def __init__(self, **settings: Any) -> None:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self.address = sock.getsockname()
        self.listener = Listener(sock, settings.pop("answer", echo), name="test", **settings)
        self.clients: list[socket.socket] = []

    def __enter__(self) -> Served:
        self.listener.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.listener.stop()
        for client in self.clients:
            client.close()

    def connect(self, said: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.address, WITHIN)
        client.sendall(said)
        self.clients.append(client)
        return client


def rest(client: socket.socket) -> bytes:
    """Everything until the other side closes."""
    with contextlib.suppress(ConnectionResetError):
        return b"".join(iter(lambda: client.recv(65536), b""))
    return b""


@pytest.fixture
def served() -> Iterator[Served]:
    with Served() as found:
        yield found


def test_listener_many_silent_clients_one_that_asks_is_answered(served: Served) -> None:
    for _number in range(300):
        served.connect(b"GET / HT")
    assert rest(served.connect(b"hello\n")) == b"hello\n"
    assert served.listener.open <= listener_module.CONNECTIONS


def test_listener_request_in_pieces_is_answered(served: Served) -> None:
    client = served.connect(b"he")
    client.sendall(b"llo\n")
    assert rest(client) == b"hello\n"


def test_listener_request_exceeds_its_bound_is_closed() -> None:
    with Served(request_bytes=1000) as served:
        client = served.connect()
        with contextlib.suppress(OSError):
            client.sendall(b"x" * 100_000)
        assert rest(client) == b""


def test_listener_silent_client_is_closed_at_its_deadline() -> None:
    with Served(seconds=0.05) as served:
        assert rest(served.connect(b"no end")) == b""


def test_listener_client_that_does_not_read_is_closed_at_its_deadline() -> None:
    with Served(seconds=0.05, answer=lambda received: b"x" * 50_000_000 if received else None) as served:
        idle = served.connect(b"\n")
        other = served.connect(b"\n")
        assert len(rest(other)) <= 50_000_000
        assert len(rest(idle)) < 50_000_000


def test_listener_answer_raises_other_clients_are_answered() -> None:
    def answer(received: bytes) -> Optional[bytes]:
        if received == b"bad\n":
            raise ValueError("a defect")
        return echo(received)

    with Served(answer=answer) as served:
        assert rest(served.connect(b"bad\n")) == b""
        assert rest(served.connect(b"good\n")) == b"good\n"


FEW_DESCRIPTORS = """
import resource, socket
from fleet_worker.logs import log
from fleet_worker.observe import listener
log.set_up("logfmt", "info")
sock = socket.socket()
sock.bind(("127.0.0.1", 0))
server = listener.Listener(sock, lambda got: got if got.endswith(b"!") else None, name="test", connections=1000)
server.start()
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
print(sock.getsockname()[1], flush=True)
input()
"""


def test_listener_out_of_descriptors_lets_idle_connections_go_and_says_why() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(package_file).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", FEW_DESCRIPTORS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        address = ("127.0.0.1", int(process.stdout.readline()))
        silent = [socket.create_connection(address, WITHIN) for _number in range(60)]
        with socket.create_connection(address, WITHIN) as client:
            client.sendall(b"hello!")
            assert rest(client) == b"hello!"
        process.stdin.close()
        log = process.stdout.read()
    for client in silent:
        client.close()
    assert "event=connection_refused" in log
    assert "may not open more files and connections" in log and "LimitNOFILE=" in log


def test_status_value_that_json_does_not_have_is_shown(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    server = StatusServer(path, lambda: {"id": b"\xff\x1b", "ready": True})
    server.start()
    for _turn in range(2):
        assert ask(path) == {"id": "\\xff\\x1b", "ready": True}
    server.stop()
    assert not Path(path).exists()


def test_status_snapshot_raises_next_client_is_answered(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    snapshots = iter([ValueError("odd"), {"ready": True}])

    def snapshot() -> dict[str, Any]:
        found = next(snapshots)
        if isinstance(found, Exception):
            raise found
        return found

    server = StatusServer(path, snapshot)
    server.start()
    with pytest.raises(json.JSONDecodeError):
        ask(path)
    assert ask(path) == {"ready": True}
    server.stop()


def test_status_table_escapes_what_others_have_written() -> None:
    hostile = "x\n\x1b[2J\x1b]0;owned\x07FORGED  push  0\u202e\ud800" + "y" * 5000
    state = {
        "summary": hostile,
        "since": 0.0,
        "broker": "b",
        "connected": True,
        "lanes": [
            {"queue": hostile, "state": "push", "running": 0, "answered": 0, "model": hostile, "reason": hostile}
        ],
        "in_flight": [{"correlation_id": hostile, "lane": "l", "seconds": 1.0}],
        "rates": {},
        "counters": {hostile: 1},
    }
    shown = table(state)
    assert all(line.isprintable() for line in shown.splitlines())
    assert not any(line.startswith("FORGED") for line in shown.splitlines())
    shown.encode()
    assert table({"error": hostile}).isprintable()
    del state["lanes"][0]["answered"]  # an older worker runs, and the link leads to this release already
    assert table(state)
