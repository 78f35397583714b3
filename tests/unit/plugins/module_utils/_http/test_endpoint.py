# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver that waits: answers as servers and networks send them, from a server with a script."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._http import endpoint as waiting_driver
from ansible_collections.legionio.ollama.plugins.module_utils._http.endpoint import Endpoint, IdleLimit, WireError


class Server:
    """Answers the requests of each connection with the scripts of that connection, in turn; then hangs up."""

    def __init__(self, *connections):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections = connections
        self.requests = []
        #: Released for each connection that the server has closed.
        self.closed = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def endpoint(self, silence=5, limit=None):
        host, port = self._listener.getsockname()
        return Endpoint(host, port, connect_timeout=5, silence=silence, limit=limit)

    def _serve(self):
        for answers in self._connections:
            connection, _address = self._listener.accept()
            threading.Thread(target=self._answer, args=(connection, answers), daemon=True).start()

    def _answer(self, connection, answers):
        with connection, contextlib.suppress(OSError):
            for answer in answers:
                request = b""
                while b"\r\n\r\n" not in request:
                    received = connection.recv(65536)
                    if not received:
                        return
                    request += received
                self.requests.append(request)
                for piece in answer:
                    if isinstance(piece, float):
                        time.sleep(piece)
                    elif callable(piece):
                        piece()
                    else:
                        connection.sendall(piece)
        self.closed.release()


def body(answer):
    content = answer.read(10_000_000)
    answer.close()
    return content


def test_ask_sends_the_request_and_returns_the_answer():
    server = Server([[b'HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nETag: "x"\r\n\r\nhello']])
    answer = server.endpoint().ask("GET", "/b/k?a=b", {"host": "h", "range": "bytes=0-4"})
    assert (answer.status, answer.length, answer.headers["etag"]) == (206, 5, '"x"')
    assert body(answer) == b"hello"
    assert server.requests == [b"GET /b/k?a=b HTTP/1.1\r\nhost: h\r\nrange: bytes=0-4\r\n\r\n"]


def test_endpoint_with_answers_in_any_pieces_reads_them_over_one_connection():
    whole = b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000)
    server = Server([[whole[:10], 0.02, whole[10:30], 0.02, whole[30:]]] * 3)
    endpoint = server.endpoint()
    for _request in range(3):
        assert body(endpoint.ask("GET", "/", {})) == bytes(300_000)


def test_ask_for_the_head_expects_no_body():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"
    server = Server([[head], [head]])
    endpoint = server.endpoint()
    for _request in range(2):
        answer = endpoint.ask("HEAD", "/", {})
        assert (answer.length, body(answer)) == (300_000, b"")


@pytest.mark.parametrize("ending", [b"", b"\r\nConnection: Close"])
def test_endpoint_with_a_connection_that_was_closed_meanwhile_connects_anew(ending):
    answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 2" + ending + b"\r\n\r\nok"]
    server = Server([answer], [answer], [answer])
    endpoint = server.endpoint()
    for _request in range(3):
        assert body(endpoint.ask("GET", "/", {})) == b"ok"
        assert server.closed.acquire(timeout=60)


def test_endpoint_with_a_body_that_was_not_read_to_its_end_connects_anew():
    server = Server(
        [[b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef"]],
        [[b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ng"]],
    )
    endpoint = server.endpoint()
    answer = endpoint.ask("GET", "/", {})
    assert answer.read(2) == b"ab"
    answer.close()
    assert body(endpoint.ask("GET", "/", {})) == b"g"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n folded\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: y\r\n\tfolded: z\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 9\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: a\r\nETag: b\r\n\r\nok",
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 102 Processing\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"x" * 100_000,
    ],
)
def test_ask_with_an_answer_of_uncertain_or_unknown_length_raises(said):
    server = Server([[said]])
    with pytest.raises(WireError):
        server.endpoint().ask("GET", "/", {})


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: Close, x\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    ],
)
def test_endpoint_with_an_answer_after_which_nothing_is_certain_connects_anew(said):
    wrong = b"HTTP/1.1 500 The connection was used again\r\nContent-Length: 0\r\n\r\n"
    server = Server([[said], [wrong]], [[said]])
    endpoint = server.endpoint()
    for _request in range(2):
        answer = endpoint.ask("GET", "/", {})
        assert (answer.status, body(answer)) == (200, b"ok")


def test_endpoint_with_interim_answers_reads_the_answer_behind_them():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    server = Server([[interim, 0.02, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]])
    answer = server.endpoint().ask("GET", "/", {})
    assert (answer.status, body(answer)) == (200, b"ok")


def test_endpoint_with_an_answer_to_head_that_says_no_length_refuses_it():
    server = Server([[b"HTTP/1.1 200 OK\r\n\r\n"]])
    with pytest.raises(WireError, match="known length"):
        server.endpoint().ask("HEAD", "/", {})


def test_read_of_an_answer_cut_short_raises():
    server = Server([[b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc"]])
    answer = server.endpoint().ask("GET", "/", {})
    with pytest.raises(WireError, match="early"):
        answer.read(6)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc"])
def test_endpoint_with_a_server_that_falls_silent_times_out(said):
    server = Server([[said, 5.0]])
    with pytest.raises(TimeoutError):
        server.endpoint(silence=1).ask("GET", "/", {}).read(6)


def test_ask_on_idle_connections_that_are_silent_times_out_once():
    """A firewall may have forgotten all of them, and each would cost the time of silence."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    server = Server([[answer], [3.0]], [[answer], [3.0]], [[answer]])
    endpoint = server.endpoint(silence=1)
    for got in [endpoint.ask("GET", "/", {}) for _connection in range(2)]:
        assert body(got) == b"ok"
    with pytest.raises(TimeoutError):
        endpoint.ask("GET", "/silent", {})
    assert len(server.requests) == 3
    assert body(endpoint.ask("GET", "/", {})) == b"ok"


def test_ask_with_a_head_that_comes_byte_by_byte_times_out():
    """No silence is long enough to end the request."""
    trickle = [piece for _byte in range(100) for piece in (b"x", 0.1)]
    server = Server([[b"HTTP/1.1 200 OK\r\nX: ", *trickle]])
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="head"):
        server.endpoint(silence=1).ask("GET", "/", {})
    assert time.monotonic() - start < 5


def test_read_of_a_body_that_comes_byte_by_byte_times_out():
    trickle = [piece for _byte in range(100) for piece in (b"x", 0.1)]
    server = Server([[b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *trickle]])
    answer = server.endpoint(silence=1).ask("GET", "/", {})
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="long"):
        answer.read(100, seconds=0.5)
    assert time.monotonic() - start < 5


def test_ask_without_a_server_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
    with pytest.raises(ConnectionRefusedError):
        Endpoint(host, port, connect_timeout=5, silence=5).ask("GET", "/", {})


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "ü"])
def test_ask_with_a_header_that_would_be_two_raises(value):
    server = Server([[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]])
    with pytest.raises(WireError):
        server.endpoint().ask("GET", "/", {"a": value})
    assert not server.requests


class PacedSocket:
    """A socket whose bytes come at a rate, on a clock of its own."""

    def __init__(self, rate):
        self.rate = rate
        self.now = 0.0

    def recv_into(self, view, _count, flags):
        assert flags == socket.MSG_WAITALL
        self.now += len(view) / self.rate
        return len(view)


@pytest.mark.parametrize("rate", [100_000, 500_000, 5_000_000_000])
def test_readinto_waits_for_as_many_bytes_as_come_in_a_moment(monkeypatch, rate):
    paced = PacedSocket(rate)
    monkeypatch.setattr(waiting_driver.time, "monotonic", lambda: paced.now)
    connection = waiting_driver._Connection(paced, patient=True)
    view = memoryview(bytearray(2 * waiting_driver._MOST))
    counts = [connection.readinto(view) for _call in range(20)]
    if rate > 1_000_000_000:
        assert counts[-1] == waiting_driver._MOST
    else:
        assert counts[-1] == waiting_driver._LEAST or counts[-1] / rate <= waiting_driver._PATIENCE
        assert counts[-1] < counts[0]


def test_endpoint_with_unasked_bytes_on_an_idle_connection_connects_anew():
    """As a proxy does before it hangs up on a connection that nobody uses."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    unasked = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    was_read, was_sent = threading.Event(), threading.Event()
    server = Server([[answer, was_read.wait, unasked, was_sent.set]], [[answer]])
    endpoint = server.endpoint()
    assert body(endpoint.ask("GET", "/", {})) == b"ok"
    was_read.set()
    assert was_sent.wait(60)
    again = endpoint.ask("GET", "/", {})
    assert (again.status, body(again)) == (200, b"ok")


def test_endpoint_in_a_forked_process_connects_anew():
    """What a child leaves unread when it is killed must not answer the next question of its parent."""
    first = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nparent"
    childs = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nchild"
    server = Server([[first], [first]], [[childs]])
    endpoint = server.endpoint()
    assert body(endpoint.ask("GET", "/1", {})) == b"parent"
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os._exit(0 if body(endpoint.ask("GET", "/2", {})) == b"child" else 1)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert body(endpoint.ask("GET", "/3", {})) == b"parent"


def test_endpoints_with_a_limit_close_the_connection_that_was_not_used_for_longest():
    answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"]
    servers = [Server([answer] * 9) for _server in range(3)]
    limit = IdleLimit(2)
    first, second, third = [server.endpoint(limit=limit) for server in servers]
    for endpoint in (first, second, first):
        body(endpoint.ask("GET", "/", {}))
    used = second.ask("GET", "/", {})
    body(third.ask("GET", "/", {}))
    body(first.ask("GET", "/", {}))
    assert [len(one._idle) for one in (first, second, third)] == [1, 0, 1]
    assert body(used) == b"x"
    assert [len(one._idle) for one in (first, second, third)] == [1, 1, 0]
    assert body(second.ask("GET", "/", {})) == b"x"
    assert [len(server.requests) for server in servers] == [3, 3, 1]
