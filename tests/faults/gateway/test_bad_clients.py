# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that hurt, and a node that does: each costs its own request alone."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from fleet_gateway.settings.keys import new_key
from fleet_parts import CHAT_MODEL, ScriptedOllama, Slow, WorkerProcess, answer, eventually
from gateway_parts import Connection, GatewayProcess, Stepwise

CHAT = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hello"}], "stream": False}
STREAM = {**CHAT, "stream": True}
KEY, HASH = new_key()
HUNDRED_MB = 100_000_000

Start = Callable[..., Any]


@pytest.fixture
def gateway(shared_broker: Any, scripted: ScriptedOllama, start: Start) -> Any:
    start(WorkerProcess, shared_broker, scripted.url)
    return start(GatewayProcess, shared_broker, limits={"head_seconds": 1, "body_seconds": 2})


def memory(gateway: Any) -> int:
    pages = int(Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def idle(gateway: Any) -> None:
    """Wait until nothing is left of any request, and see that the next one is served."""
    eventually(lambda: not any(lane["running"] or lane["waiting"] for lane in gateway.status()["lanes"]), "no request")
    assert gateway.ask("/api/chat", CHAT).status == 200


def test_clients_that_disconnect_at_each_stage_leave_nothing(gateway: Any, scripted: ScriptedOllama) -> None:
    body = json.dumps(CHAT).encode()
    head = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    whole = head + body
    for sent in (b"", whole[:10], head[:-2], head, head + body[:5], whole[:-1], whole):
        client = Connection(gateway)
        client.socket.sendall(sent)
        client.hang_up()
    idle(gateway)
    # Before the first byte, and after each piece of a stream.
    for words in range(4):
        scripted.behave = steps = Stepwise()
        client = Connection(gateway).post("/api/chat", STREAM)
        assert steps.begun.acquire(timeout=20)
        for word in (b'"one"', b'"two"', b'"three"')[:words]:
            client.read_until(word)
            if word != b'"three"':
                steps.step.release()
        client.hang_up()
        for _left in range(3):
            steps.step.release()
    scripted.behave = answer
    # With the answer in its hands.
    client = Connection(gateway).post("/api/chat", CHAT)
    client.read_until(b"Good morning")
    client.hang_up()
    idle(gateway)


def test_client_that_reads_slowly_gets_everything(gateway: Any, scripted: ScriptedOllama) -> None:
    def lines() -> Any:
        for number in range(40):
            yield {"message": {"content": f"{number:03}" + "x" * 65536}, "done": False}
        yield {"message": {"content": ""}, "done": True, "done_reason": "stop"}

    scripted.behave = lambda path, body: (200, lines()) if body.get("stream") else answer(path, body)
    client = Connection(gateway)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.post("/api/chat", STREAM)
    seen = b""
    while not seen.endswith(b"0\r\n\r\n"):
        seen += client.socket.recv(32768)
        time.sleep(0.005)
    assert [b'"%03d' % number in seen for number in range(40)] == [True] * 40
    assert b"error" not in seen
    idle(gateway)


@pytest.mark.parametrize("announced", [True, False], ids=["with its length", "in chunks"])
def test_body_of_100_mb_is_refused_and_not_kept(gateway: Any, announced: bool) -> None:
    before = memory(gateway)
    client = Connection(gateway)
    head = b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Content-Length: %d\r\n\r\n" % HUNDRED_MB if announced else b"Transfer-Encoding: chunked\r\n\r\n"
    client.socket.sendall(head)
    piece = b"x" * 65536 if announced else b"10000\r\n" + b"x" * 65536 + b"\r\n"
    for _sent in range(HUNDRED_MB // 65536 + 1):
        client.socket.sendall(piece)
    assert b" 413 " in client.read_until(b"bytes allowed")
    client.socket.close()
    assert gateway.ask("/v1/messages", b"x" * 17_000_000).status == 413
    assert memory(gateway) < before + 120_000_000
    idle(gateway)


def test_malformed_bodies_are_refused(gateway: Any, scripted: ScriptedOllama) -> None:
    nested = json.dumps({"model": CHAT_MODEL})[:-1] + ', "messages": '
    bodies: list[Any] = [
        b"no JSON",
        b"\xff\xfe",
        b"null",
        (nested + "[" * 40_000 + "]" * 40_000 + "}").encode(),
        (nested + '{"a":' * 5000 + "1" + "}" * 5000 + "}").encode(),
        {**CHAT, "messages": "text"},
        {**CHAT, "messages": [7]},
        {**CHAT, "model": ["x"]},
        {**CHAT, "options": "fast"},
        {**CHAT, "options": {"temperature": "hot"}},
        {**CHAT, "format": 7},
    ]
    scripted.behave = lambda path, body: (
        (400, {"error": "no"}) if body["messages"] != CHAT["messages"] else answer(path, body)
    )
    for body in bodies:
        answered = gateway.ask("/api/chat", body)
        assert answered.status == 400, body
        assert isinstance(answered.document["error"], str)
    idle(gateway)


def test_keys_that_are_wrong_expired_or_over_a_limit_are_refused(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    start(WorkerProcess, shared_broker, scripted.url)
    old, old_hash = new_key()
    poor, poor_hash = new_key()
    gateway = start(
        GatewayProcess,
        shared_broker,
        keys=[
            {"name": "alice", "hash": HASH},
            {"name": "old", "hash": old_hash, "expires": "2020-01-01"},
            {"name": "poor", "hash": poor_hash, "tokens_per_day": 7},
        ],
    )
    for key, status in ((None, 401), ("", 401), (KEY + "x", 401), (KEY.upper(), 401), (old, 403), (KEY, 200)):
        assert gateway.ask("/v1/chat/completions", CHAT, key=key).status == status, key
    # Five tokens each: the second one goes beyond what may be used, and the third comes too late.
    answers = [gateway.ask("/api/chat", CHAT, key=poor) for _number in range(3)]
    assert [one.status for one in answers] == [200, 200, 429]
    assert 0 < int(answers[2].headers["Retry-After"]) <= 86_400


def test_request_to_a_silent_node_fails_at_its_deadline_and_is_cancelled(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    scripted.behave = slow = Slow(60)
    worker = start(WorkerProcess, shared_broker, scripted.url, concurrency=1)
    gateway = start(GatewayProcess, shared_broker, deadline=2)
    try:
        for body in (CHAT, STREAM):
            begun = time.monotonic()
            answered = gateway.ask("/v1/chat/completions", body)
            # The gateway says so, or the node before it.
            assert answered.status == 504
            assert 1.5 < time.monotonic() - begun < 5
            eventually(lambda: not worker.status()["in_flight"], "the node to have let go", 5)
    finally:
        slow.go_on.set()
    scripted.behave = answer
    idle(gateway)


def test_request_at_a_node_that_hangs_fails_at_its_deadline(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    worker = start(WorkerProcess, shared_broker, scripted.url)
    gateway = start(GatewayProcess, shared_broker, deadline=3)
    assert gateway.ask("/api/chat", CHAT).status == 200
    worker.process.send_signal(19)  # SIGSTOP: its connection stays, and nothing is said any more
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    begun = time.monotonic()
    connection.request("POST", "/api/chat", json.dumps(CHAT))
    assert connection.getresponse().status == 504
    assert 2 < time.monotonic() - begun < 10
    connection.close()
    worker.process.send_signal(18)
    eventually(lambda: gateway.ask("/api/chat", CHAT).status == 200, "an answer again", 20)
