# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import calls
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.api_errors import (
    CallCancelledError,
    DeadlineExceededError,
    ServerUnreachableError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.calls import Call
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.retry import RetryPolicy

SOON = 0.2
#: Seconds, which guard against hanging alone: an ended call comes back at once, on a machine that may be busy.
PATIENCE = 60.0


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose queue of connections is full: a further one gets no answer at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _index in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for sock in waiting:
            sock.close()


def ended_after(act: Any, error: type[Exception]) -> float:
    started = time.monotonic()
    with pytest.raises(error):
        act()
    return time.monotonic() - started


def cancelling(delay: float = SOON) -> Call:
    call = Call()
    threading.Timer(delay, call.cancel).start()
    return call


def test_cancel_before_the_headers_ends_both_sides(lab: Any) -> None:
    ended = threading.Event()

    def script(connection: Any) -> None:
        connection.request()
        if connection.wait_for_end():
            ended.set()

    client = lab.client(lab.server(script))
    assert ended_after(lambda: client.chat(model="m", call=cancelling()), CallCancelledError) < PATIENCE
    assert ended.wait(PATIENCE), "the server still waits for a client that is gone"


def test_cancel_in_the_middle_of_a_stream(lab: Any) -> None:
    ended = threading.Event()

    def script(connection: Any) -> None:
        connection.request()
        connection.begin_stream()
        connection.line({"response": "a", "done": False})
        if connection.wait_for_end():
            ended.set()

    call = Call()
    stream = iter(lab.client(lab.server(script)).generate_stream(model="m", call=call))
    assert next(stream).text == "a"
    threading.Timer(SOON, call.cancel).start()
    assert ended_after(lambda: next(stream), CallCancelledError) < PATIENCE
    assert ended.wait(PATIENCE)


def test_cancel_in_an_answer_without_length(lab: Any) -> None:
    """Where the end of the connection is the end of the answer, a cancelled one must not look complete."""

    def script(connection: Any) -> None:
        connection.request()
        connection.send(b"HTTP/1.0 200 OK\r\n\r\n" + b'{"models": []}')
        connection.wait_for_end()

    assert ended_after(lambda: lab.client(lab.server(script)).tags(call=cancelling()), CallCancelledError) < PATIENCE


def test_cancel_while_connecting(lab: Any, full_port: int) -> None:
    client = lab.client(f"127.0.0.1:{full_port}")
    assert ended_after(lambda: client.tags(call=cancelling()), CallCancelledError) < PATIENCE


def test_cancel_in_the_tls_handshake(lab: Any) -> None:
    server = lab.server(lambda connection: time.sleep(PATIENCE))
    client = lab.client(f"https://127.0.0.1:{server.port}")
    assert ended_after(lambda: client.tags(call=cancelling()), CallCancelledError) < PATIENCE


def test_cancel_while_sending_to_a_server_that_does_not_read(lab: Any) -> None:
    server = lab.server(lambda connection: time.sleep(PATIENCE))
    client = lab.client(server)
    body = "x" * 30_000_000
    assert ended_after(lambda: client.embed(model="m", input=body, call=cancelling()), CallCancelledError) < PATIENCE


class Flood:
    """A server whose answer has no end.

    :ivar asked: set when the request has come.
    :ivar begin: to be set by the test before the answer begins.
    :ivar full: set when the server stands before a full window, since nobody reads.
    :ivar ended: set when the server has learned that nobody will.
    """

    def __init__(self) -> None:
        self.asked, self.begin = threading.Event(), threading.Event()
        self.full, self.ended = threading.Event(), threading.Event()

    def __call__(self, connection: Any) -> None:
        try:
            connection.request()
            self.asked.set()
            assert self.begin.wait(PATIENCE)
            connection.begin_stream()
            while True:
                while not select.select([], [connection.sock], [], 0.1)[1]:
                    self.full.set()
                connection.line({"message": {"content": "again " * 1000}})
        except OSError:
            self.ended.set()


def test_cancel_reaches_a_server_that_stands_before_a_full_window(lab: Any) -> None:
    """The end of the connection alone would not tell the server that it may stop: a reset does."""
    flood, call = Flood(), Call()
    flood.begin.set()
    stream = iter(lab.client(lab.server(flood)).chat_stream(model="m", call=call))
    for _event in range(3000):  # so that the kernel allows the connection large buffers
        next(stream)
    flood.full.clear()
    assert flood.full.wait(PATIENCE)
    call.cancel()
    late: list[Any] = []

    def read_on() -> None:
        for event in stream:
            late.append(event)  # noqa: PERF402 - what came before the error counts

    with pytest.raises(CallCancelledError):
        read_on()
    assert len(late) <= 2, "what lies in the buffers of the socket is not read after a cancellation"
    assert flood.ended.wait(PATIENCE)


def test_cancel_reaches_a_server_that_has_not_begun_to_answer(lab: Any) -> None:
    flood, call = Flood(), Call()
    client = lab.client(lab.server(flood))
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(lambda: list(client.chat_stream(model="m", call=call)))
        assert flood.asked.wait(PATIENCE)
        call.cancel()
        with pytest.raises(CallCancelledError):
            asked.result(PATIENCE)
    flood.begin.set()
    assert flood.ended.wait(PATIENCE)


def test_cancel_before_the_request_is_sent_leaves_the_server_without_one(lab: Any) -> None:
    """The connection is there, or on its way, when the call is cancelled."""
    requests: list[Any] = []
    ended = threading.Event()

    class CancelledOnConnecting(Call):
        def attach(self, sock: socket.socket) -> None:
            super().attach(sock)
            self.cancel()

    def script(connection: Any) -> None:
        try:
            requests.append(connection.request())
        except OSError:
            requests.append("reset")
        ended.set()

    server = lab.server(script)
    with pytest.raises(CallCancelledError):
        list(lab.client(server).chat_stream(model="m", call=CancelledOnConnecting()))
    if server.connections:  # a connection that is reset in the queue of the listener may never be accepted
        assert ended.wait(PATIENCE)
    assert requests in ([], ["reset"], [("", "", {}, b"")])


def test_cancel_between_two_tries(lab: Any) -> None:
    client = lab.client("127.0.0.1:1", retries=RetryPolicy(retries=9, base=60.0, cap=60.0))
    assert ended_after(lambda: client.tags(call=cancelling()), CallCancelledError) < PATIENCE


def test_cancel_before_the_start(lab: Any) -> None:
    client, requests = lab.answering({"models": []})
    call = Call()
    call.cancel()
    call.cancel()
    assert call.cancelled
    with pytest.raises(CallCancelledError):
        client.tags(call=call)
    assert requests == []


def test_cancelling_a_call_that_is_over_hurts_no_other(lab: Any) -> None:
    """The connection of the call is back in the pool, or serves the next one already."""
    client, _requests = lab.answering(*[{"models": []}] * 200)
    for _round in range(100):
        call = Call()
        client.tags(call=call)
        call.cancel()
        client.tags()


def test_cancelling_at_the_moment_of_the_answer_hurts_no_other(lab: Any) -> None:
    def script(connection: Any) -> None:
        while connection.request()[0]:
            connection.answer({"models": []})

    client = lab.client(lab.server(script))
    with ThreadPoolExecutor(1) as canceller:
        for number in range(300):
            call = Call()
            cancelled = canceller.submit(lambda call=call, number=number: (time.sleep(number * 1e-5), call.cancel()))
            with suppress(CallCancelledError):
                client.tags(call=call)
            client.tags()  # on the same connection, when it survived
            cancelled.result()


def test_the_client_cancels_all_that_is_in_flight(lab: Any) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.wait_for_end()

    server = lab.server(script)
    client = lab.client(server)
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(client.chat, model="m") for _index in range(4)]
        while server.connections < 4:
            time.sleep(0.01)
        client.cancel()
        for call in calls:
            with pytest.raises(CallCancelledError):
                call.result(PATIENCE)


def test_the_total_deadline_ends_a_server_that_trickles(lab: Any) -> None:
    """Every byte starts the read timeout again, here in the headers, where no library looks at the clock."""

    def script(connection: Any) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n")
        for number in range(1000):
            connection.send(b"X-%d: y\r\n" % number)
            time.sleep(0.02)

    client = lab.client(lab.server(script))
    with pytest.raises(DeadlineExceededError, match=r"within 0\.3 seconds"):
        client.chat(model="m", call=Call(total_timeout=0.3))


def test_the_total_deadline_includes_retries_and_streams(lab: Any) -> None:
    client = lab.client("127.0.0.1:1", retries=RetryPolicy(retries=9, base=60.0, cap=60.0), total_timeout=SOON)
    assert ended_after(client.tags, DeadlineExceededError) < PATIENCE

    def script(connection: Any) -> None:
        connection.request()
        connection.begin_stream()
        while True:
            connection.line({"response": "a", "done": False})
            time.sleep(0.02)

    client = lab.client(lab.server(script), total_timeout=SOON)
    assert ended_after(lambda: list(client.generate_stream(model="m")), DeadlineExceededError) < PATIENCE


#: Calls that first send another request: for the server's version, or for the blob.
WITH_A_REQUEST_BEFORE = (
    lambda client, call: client.chat(model="m", think=True, call=call),
    lambda client, call: client.chat_stream(model="m", think=True, call=call),
    lambda client, call: client.push_blob("sha256:" + "0" * 64, [b""], size=0, call=call),
)


@pytest.mark.parametrize("act", WITH_A_REQUEST_BEFORE)
@pytest.mark.parametrize("error", [DeadlineExceededError, CallCancelledError])
def test_the_request_before_a_call_has_the_limits_of_the_call(lab: Any, act: Any, error: type[Exception]) -> None:
    asked, ended = threading.Event(), threading.Event()

    def script(connection: Any) -> None:
        assert connection.request()[1] in ("/api/version", "/api/blobs/sha256:" + "0" * 64)
        asked.set()
        if connection.wait_for_end():
            ended.set()

    client = lab.client(lab.server(script), read_timeout=10.0, retries=0)
    call = Call(total_timeout=SOON) if error is DeadlineExceededError else Call()
    with ThreadPoolExecutor(1) as threads:
        acting = threads.submit(act, client, call)
        assert asked.wait(PATIENCE)
        if error is CallCancelledError:
            call.cancel()
        with pytest.raises(error):
            acting.result(PATIENCE)
    assert ended.wait(PATIENCE)


def test_deadlines_end_calls_in_their_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[Any] = []
    over = threading.Event()

    def expired(call: Call) -> None:
        order.append(call.total_timeout)
        if len(order) == 4:
            over.set()

    monkeypatch.setattr(Call, "expire", expired)
    begun = time.monotonic()
    with calls._WATCHDOG._changed:  # so that none is over before all of them are known
        for seconds in (0.8, 0.2, 0.6, 0.4):
            calls._WATCHDOG.watch(Call(total_timeout=seconds), begun + seconds)
    assert over.wait(PATIENCE)
    assert order == [0.2, 0.4, 0.6, 0.8]


def test_a_deadline_that_was_kept_ends_nothing_later(lab: Any) -> None:
    client, _requests = lab.answering({"models": []}, {"models": []})
    call = Call(total_timeout=3600.0)
    client.tags(call=call)
    assert call not in calls._WATCHDOG._watched
    call.expire()  # what a watchdog does that has just taken it from its list
    client.tags()


def test_many_kept_deadlines_are_forgotten(lab: Any) -> None:
    client, _requests = lab.answering(*[{"models": []}] * 300)
    for _round in range(300):
        client.tags(call=Call(total_timeout=3600.0))
    assert len(calls._WATCHDOG._deadlines) < 100


def test_the_connect_timeout_is_its_own(lab: Any, full_port: int) -> None:
    client = lab.client(f"127.0.0.1:{full_port}", connect_timeout=SOON, retries=0)
    started = time.monotonic()
    with pytest.raises(ServerUnreachableError, match=r"no answer within 0\.2 s"):
        client.tags()
    assert SOON <= time.monotonic() - started < PATIENCE


def test_a_call_is_used_once(lab: Any) -> None:
    client, _requests = lab.answering({"models": []}, {"models": []})
    call = Call()
    client.tags(call=call)
    with pytest.raises(RuntimeError, match="one call"):
        client.tags(call=call)


def test_no_descriptor_is_left_behind(lab: Any) -> None:
    def script(connection: Any) -> None:
        while connection.request()[0]:
            connection.answer({"models": []})

    client = lab.client(lab.server(script))
    client.tags()
    before = len(os.listdir("/proc/self/fd"))
    for _round in range(50):
        client.tags()
        cancelled = Call()
        cancelled.cancel()
        with pytest.raises(CallCancelledError):
            client.tags(call=cancelled)
    assert len(os.listdir("/proc/self/fd")) <= before
