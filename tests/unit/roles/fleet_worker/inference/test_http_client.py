# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ollama that is asked from the I/O thread: what a call of the client promises holds here, too."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable, Union

import pytest
from fleet_worker._http.response_parser import ResponseParser
from fleet_worker._ollama.api_errors import (
    CallCancelledError,
    ConnectionLostError,
    DeadlineExceededError,
    OllamaError,
    ServerUnreachableError,
    UnexpectedAnswerError,
)
from fleet_worker._ollama.hosts import parse_host
from fleet_worker._ollama.transport import HttpRequest
from fleet_worker.inference.http_client import HttpClient, PendingRequest
from fleet_worker.runtime.event_loop import EventLoop

from ..turning import turn_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
HELLO = HttpRequest("POST", "/api/chat", b'{"model": "m"}', {"User-Agent": "tests"})

Script = Callable[[socket.socket], object]


class Lab:
    """A scripted server, with a thread for each connection, and a client."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.stack = contextlib.ExitStack()
        self.stack.callback(self.loop.close)
        self.told: list[Union[ResponseParser, OllamaError]] = []
        self.accepted = 0

    def serve(self, script: Script) -> HttpClient:
        listener = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def accept() -> None:
            while True:
                try:
                    sock, _address = listener.accept()
                except OSError:
                    return
                self.accepted += 1
                threading.Thread(target=run, args=(sock,), daemon=True).start()

        def run(sock: socket.socket) -> None:
            with sock, contextlib.suppress(OSError):
                script(sock)

        self.stack.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
        threading.Thread(target=accept, daemon=True).start()
        return HttpClient(self.loop, parse_host(f"127.0.0.1:{listener.getsockname()[1]}"))

    def ask(self, client: HttpClient, request: HttpRequest = HELLO, seconds: float = 10.0) -> PendingRequest:
        return client.ask(request, seconds, self.told.append)

    def outcome(self) -> Any:
        """Turn until a callback ran, and a little longer: none may run twice."""
        turn_until(self.loop, lambda: self.told)
        for _turn in range(3):
            self.loop.call_later(0.005, lambda: None)
            self.loop.turn()
        (outcome,) = self.told
        self.told.clear()
        return outcome


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    with lab.stack:
        yield lab


def receive(sock: socket.socket) -> bytes:
    """Return the next request, head and body; empty at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return b""
        data += more
    head, _end, body = data.partition(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def always(answer: bytes) -> Script:
    def script(sock: socket.socket) -> None:
        while receive(sock):
            sock.sendall(answer)

    return script


def test_ask_sends_the_request_and_gives_the_answer_to_the_callback(lab: Lab) -> None:
    seen: list[bytes] = []
    client = lab.serve(lambda sock: (seen.append(receive(sock)), sock.sendall(OK)))
    lab.ask(client)
    answer = lab.outcome()
    assert (answer.status, answer.body()) == (200, b"{}")
    head, _end, body = seen[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /api/chat HTTP/1.1",
        b"Host: 127.0.0.1:%d" % client.address.port,
        b"User-Agent: tests",
        b"Content-Length: 14",
    ]
    assert body == HELLO.body


def test_ask_reuses_an_idle_connection_and_opens_others_when_none_is_idle(lab: Lab) -> None:
    client = lab.serve(always(OK))
    for _number in range(3):
        lab.ask(client)
        lab.outcome()
    assert lab.accepted == 1
    for _number in range(3):
        lab.ask(client)
    turn_until(lab.loop, lambda: len(lab.told) == 3)
    assert lab.accepted == 3


def test_idle_connection_that_ends_is_not_used_again(lab: Lab) -> None:
    client = lab.serve(lambda sock: (receive(sock), sock.sendall(OK)))
    for _number in range(3):
        lab.ask(client)
        assert isinstance(lab.outcome(), ResponseParser)
        turn_until(lab.loop, lambda: not client.idle)
    assert lab.accepted == 3


def test_ask_with_a_large_request_and_a_large_answer_sends_and_receives_all(lab: Lab) -> None:
    large = b"x" * 20_000_000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(large)
    seen: list[int] = []
    client = lab.serve(lambda sock: (seen.append(len(receive(sock))), sock.sendall(head + large)))
    lab.ask(client, HttpRequest("POST", "/api/embed", large))
    assert lab.outcome().body() == large
    assert seen[0] > len(large)


def test_ask_with_an_early_answer_to_a_large_request_receives_it(lab: Lab) -> None:
    """It says why the rest of the request is of no interest, and the connection is reset under the sender."""

    def script(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")

    client = lab.serve(script)
    for _number in range(10):
        lab.ask(client, HttpRequest("POST", "/api/embed", b"x" * 20_000_000))
        assert lab.outcome().status == 413
        assert not client.idle


def test_ask_without_a_server_is_unreachable(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    lab.ask(HttpClient(lab.loop, parse_host(f"127.0.0.1:{port}")))
    assert isinstance(lab.outcome(), ServerUnreachableError)


def test_ask_at_localhost_tries_both_addresses_in_turn(lab: Lab) -> None:
    try:
        listener = lab.stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
    except OSError:
        pytest.skip("there is no IPv6 here")
    threading.Thread(target=lambda: always(OK)(listener.accept()[0]), daemon=True).start()
    client = HttpClient(lab.loop, parse_host(f"localhost:{listener.getsockname()[1]}"))
    lab.ask(client)
    assert isinstance(lab.outcome(), ServerUnreachableError)
    for _number in range(2):
        lab.ask(client)
        assert isinstance(lab.outcome(), ResponseParser)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"])
def test_ask_over_a_connection_that_is_cut_is_lost(lab: Lab, said: bytes) -> None:
    lab.ask(lab.serve(lambda sock: (receive(sock), sock.sendall(said))))
    assert isinstance(lab.outcome(), ConnectionLostError)


def test_ask_a_server_that_does_not_speak_http_is_unexpected(lab: Lab) -> None:
    lab.ask(lab.serve(lambda sock: (sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), receive(sock))))
    assert isinstance(lab.outcome(), UnexpectedAnswerError)


def waiting(ended: threading.Event) -> Script:
    def script(sock: socket.socket) -> None:
        receive(sock)
        try:
            sock.recv(1)
        except ConnectionResetError:
            ended.set()

    return script


def test_cancel_resets_the_connection_and_calls_back_once(lab: Lab) -> None:
    ended = threading.Event()
    asked = lab.ask(lab.serve(waiting(ended)))
    lab.loop.call_later(0.1, asked.cancel)
    assert isinstance(lab.outcome(), CallCancelledError)
    asked.cancel()
    assert not lab.loop._callbacks
    assert ended.wait(60), "Ollama sees the end at once"


def test_cancel_at_once_calls_back_on_a_later_turn(lab: Lab) -> None:
    asked = lab.ask(lab.serve(always(OK)))
    asked.cancel()
    assert not lab.told, "not before a later turn"
    assert isinstance(lab.outcome(), CallCancelledError)


def test_deadline_ends_a_request_whose_server_keeps_sending_a_little(lab: Lab) -> None:
    """Also for one whose server says a word now and then."""
    ended = threading.Event()

    def slowly(sock: socket.socket) -> None:
        receive(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            while True:
                sock.sendall(b".")
                time.sleep(0.02)
        except OSError:
            ended.set()

    client = lab.serve(slowly)
    begun = time.monotonic()
    lab.ask(client, seconds=60.0)
    lab.ask(client, seconds=0.2)
    error = lab.outcome()
    assert isinstance(error, DeadlineExceededError)
    assert 0.2 <= time.monotonic() - begun < 55
    assert "within 0.2 seconds" in error.message
    assert ended.wait(60)
    assert len(client.unanswered) == 1, "the other one goes on"


def test_deadlines_set_in_any_order_end_each_request_at_its_own(lab: Lab) -> None:
    client = lab.serve(waiting(threading.Event()))
    for seconds in (0.3, 0.1, 0.2):
        lab.ask(client, seconds=seconds)
    turn_until(lab.loop, lambda: len(lab.told) == 3)
    assert [error.message.split()[-2] for error in lab.told] == ["0.1", "0.2", "0.3"]  # type: ignore[union-attr]
    assert client._alarm_at == math.inf, "there is nothing more to look at"


def test_ask_with_a_header_that_cannot_be_sent_raises(lab: Lab) -> None:
    client = lab.serve(always(OK))
    for value in ("a\r\nb", "a\nb", "snowman \N{SNOWMAN}"):
        with pytest.raises(ValueError, match=r"line break|latin-1"):
            lab.ask(client, HttpRequest("POST", "/api/chat", b"", {"X": value}))
    assert not client.unanswered


@pytest.mark.parametrize(
    "address, suits",
    [
        ("127.0.0.1:11434", True),
        ("http://[::1]:11434", True),
        ("localhost", True),
        ("https://127.0.0.1", False),
        ("gpu-01.example.com", False),
        ("192.0.2.1", False),
    ],
)
def test_suits_only_loopback_without_tls(address: str, suits: bool) -> None:
    assert HttpClient.suits(parse_host(address)) is suits
