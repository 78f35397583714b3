# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
#: An ended call comes back at once; the machine may be busy. Nothing else would end these calls for longer than that.
AT_ONCE = 10.0


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
    assert ended_after(lambda: client.chat(model="m", call=cancelling()), CallCancelledError) < AT_ONCE
    assert ended.wait(AT_ONCE), "the server still waits for a client that is gone"


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
    assert ended_after(lambda: next(stream), CallCancelledError) < AT_ONCE
    assert ended.wait(AT_ONCE)


def test_cancel_in_an_answer_without_length(lab: Any) -> None:
    """Where the end of the connection is the end of the answer, a cancelled one must not look complete."""

    def script(connection: Any) -> None:
        connection.request()
        connection.send(b"HTTP/1.0 200 OK\r\n\r\n" + b'{"models": []}')
        connection.wait_for_end()

    assert ended_after(lambda: lab.client(lab.server(script)).tags(call=cancelling()), CallCancelledError) < AT_ONCE


def test_cancel_while_connecting(lab: Any, full_port: int) -> None:
    client = lab.client(f"127.0.0.1:{full_port}")
    assert ended_after(lambda: client.tags(call=cancelling()), CallCancelledError) < AT_ONCE


def test_cancel_in_the_tls_handshake(lab: Any) -> None:
    server = lab.server(lambda connection: time.sleep(AT_ONCE))
    client = lab.client(f"https://127.0.0.1:{server.port}")
    assert ended_after(lambda: client.tags(call=cancelling()), CallCancelledError) < AT_ONCE


def test_cancel_while_sending_to_a_server_that_does_not_read(lab: Any) -> None:
    server = lab.server(lambda connection: time.sleep(AT_ONCE))
    client = lab.client(server)
    body = "x" * 30_000_000
    assert ended_after(lambda: client.embed(model="m", input=body, call=cancelling()), CallCancelledError) < AT_ONCE


def test_cancel_reaches_a_server_that_writes_faster_than_it_is_read(lab: Any) -> None:
    """It stands before a full window, and the end of the connection alone would not tell it that it may stop."""
    ended = threading.Semaphore(0)

    def script(connection: Any) -> None:
        connection.request()
        connection.begin_stream()
        try:
            while True:
                connection.line({"message": {"content": "again "}})
        except OSError:
            ended.release()

    client = lab.client(lab.server(script))

    def read(call: Call) -> None:
        for number, _event in enumerate(client.chat_stream(model="m", call=call)):
            time.sleep(0.001 * (number % 200 == 0))

    for round_number in range(10):
        with pytest.raises(CallCancelledError):
            read(cancelling(0.02 + 0.01 * round_number))
        assert ended.acquire(timeout=AT_ONCE), f"not in round {round_number}"


def test_cancel_between_two_tries(lab: Any) -> None:
    client = lab.client("127.0.0.1:1", retries=RetryPolicy(retries=9, base=60.0, cap=60.0))
    assert ended_after(lambda: client.tags(call=cancelling()), CallCancelledError) < AT_ONCE


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
    outcomes = set()
    with ThreadPoolExecutor(1) as canceller:
        for number in range(300):
            call = Call()
            cancelled = canceller.submit(lambda call=call, number=number: (time.sleep(number * 1e-5), call.cancel()))
            try:
                client.tags(call=call)
                outcomes.add("answered")
            except CallCancelledError:
                outcomes.add("cancelled")
            client.tags()  # on the same connection, when it survived
            cancelled.result()
    assert outcomes == {"answered", "cancelled"}


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
                call.result(AT_ONCE)


def test_the_total_deadline_ends_a_server_that_trickles(lab: Any) -> None:
    """Every byte starts the read timeout anew, here in the headers, where no library looks at the clock."""

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
    assert ended_after(client.tags, DeadlineExceededError) < AT_ONCE

    def script(connection: Any) -> None:
        connection.request()
        connection.begin_stream()
        while True:
            connection.line({"response": "a", "done": False})
            time.sleep(0.02)

    client = lab.client(lab.server(script), total_timeout=SOON)
    assert ended_after(lambda: list(client.generate_stream(model="m")), DeadlineExceededError) < AT_ONCE


def test_deadlines_end_calls_in_their_own_order(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.wait_for_end()

    client = lab.client(lab.server(script))
    order: list[Any] = []

    def run(seconds: float) -> None:
        with pytest.raises(DeadlineExceededError):
            client.chat(model="m", call=Call(total_timeout=seconds))

    expire = Call.expire

    def expired(call: Call) -> None:
        order.append(call.total_timeout)
        expire(call)

    # Not the order in which the threads wake up, which is that of the scheduler when the machine stood still.
    monkeypatch.setattr(Call, "expire", expired)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(run, (0.8, 0.2, 0.6, 0.4)))
    assert order == [0.2, 0.4, 0.6, 0.8]


def test_a_deadline_that_was_kept_ends_nothing_later(lab: Any) -> None:
    client, _requests = lab.answering({"models": []}, {"models": []})
    client.tags(call=Call(total_timeout=1.0))
    time.sleep(1.2)
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
    assert SOON <= time.monotonic() - started < AT_ONCE


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
