# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two drivers of the parser, the one that waits and the one that does not: they make the same of each answer."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fleet_worker._http.endpoint import Endpoint
from fleet_worker._http.errors import HttpError
from fleet_worker._http.response_parser import ResponseParser
from fleet_worker._ollama.api_errors import ConnectionLostError, UnexpectedAnswerError
from fleet_worker._ollama.hosts import parse_host
from fleet_worker._ollama.transport import HttpRequest
from fleet_worker.inference.http_client import HttpClient
from fleet_worker.runtime.event_loop import EventLoop
from hypothesis import given, settings
from hypothesis import strategies as st

from ..turning import turn_until

PARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\nContent-Range: bytes 0-1/9\r\n\r\nab",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 3\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"ETag: x\r\n",
        b" folded\r\n",
        b"\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"abc",
        b"\0",
    ]
)

REFUSED, INCOMPLETE = "refused", "incomplete"


class Speaker:
    """A server that answers each connection with the next pieces, and hangs up."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.answers: queue.Queue[list[bytes]] = queue.Queue()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with sock, contextlib.suppress(OSError):
                request = b""
                while b"\r\n\r\n" not in request:
                    request += sock.recv(65536)
                for piece in self.answers.get():
                    sock.sendall(piece)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(scope="module")
def speaker() -> Iterator[Speaker]:
    made = Speaker()
    yield made
    made.close()


def described(response: Any, content: bytes) -> Any:
    return response.status, dict(response.headers), content


def parsed(data: bytes) -> tuple[Any, bool]:
    """What the parser makes of an answer, and whether the answer says how long it is."""
    response = ResponseParser()
    try:
        if response.feed(data) or response.end():
            head = response.head
            says_length = head is not None and (head.status == 204 or None not in (head.length, head.body_length))
            return described(response, response.body()), says_length
    except HttpError:
        return REFUSED, False
    return INCOMPLETE, False


def heard_without_waiting(port: int) -> Any:
    loop, told = EventLoop(), list[Any]()
    client = HttpClient(loop, parse_host(f"127.0.0.1:{port}"))
    client.ask(HttpRequest("POST", "/", b""), 10.0, told.append)
    turn_until(loop, lambda: told)
    client.close_idle()
    loop.close()
    if isinstance(told[0], ResponseParser):
        return described(told[0], told[0].body())
    return {UnexpectedAnswerError: REFUSED, ConnectionLostError: INCOMPLETE}[type(told[0])]


def heard_waiting(port: int) -> Any:
    try:
        response = Endpoint("127.0.0.1", port, connect_timeout=10, silence=10).ask("GET", "/", {"host": "h"})
        content = response.read(1_000_000)
        response.close()
    except OSError:
        return None
    return described(response, content)


@settings(max_examples=60)
@given(st.lists(PARTS, max_size=7), st.lists(st.integers(1, 120), max_size=4))
def test_drivers_make_of_an_answer_what_the_parser_makes_of_it(
    speaker: Speaker, parts: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(parts)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[start:end] for start, end in zip(edges, edges[1:])]
    expected, says_length = parsed(data)
    speaker.answers.put(pieces)
    assert heard_without_waiting(speaker.port) == expected
    speaker.answers.put(pieces)
    assert heard_waiting(speaker.port) == (expected if says_length else None)
