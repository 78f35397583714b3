# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import api_errors as errors
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import long_calls
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.byte_counter import ByteCounter
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.long_calls import LongCalls, StalledError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.retry import RetryPolicy

NO_WAIT = RetryPolicy(retries=2, base=0.0)


def layer(completed: int) -> dict[str, Any]:
    return {"status": "pulling aaaa", "digest": "sha256:aaaa", "total": 100, "completed": completed}


def pulling(lab: Any, *rounds: Any) -> tuple[Any, list[int]]:
    """A client of a server whose pulls report the rounds in turn; a round that ends with None is cut."""
    left, count = list(rounds), [0]

    def script(connection: Any) -> None:
        while True:
            method, path, _headers, _body = connection.request()
            if not method:
                return
            if path == "/api/version":
                connection.answer({"version": "1"})
                continue
            count[0] += 1
            reports = left.pop(0)
            connection.begin_stream()
            for report in reports:
                if report is None:
                    return
                connection.line(report)
            connection.end_stream()

    return lab.client(lab.server(script)), count


def test_reports_are_counted(lab: Any) -> None:
    client, _count = pulling(lab, [layer(0), layer(100), {"status": "success"}])
    counter = ByteCounter()
    LongCalls(client, counter=counter).pull("m")
    assert counter.read() == ("m", "success", 100, 100, 0, 0)


def test_a_cut_pull_is_asked_for_again(lab: Any) -> None:
    client, count = pulling(lab, [layer(10), None], [layer(50), None], [layer(100), {"status": "success"}])
    LongCalls(client).pull("m", policy=NO_WAIT)
    assert count == [3]


def test_only_failures_without_progress_count(lab: Any) -> None:
    rounds = [[layer(n), None] for n in range(1, 9)]
    client, count = pulling(lab, *rounds, [{"status": "success"}])
    LongCalls(client).pull("m", policy=NO_WAIT)
    assert count == [9]
    client, count = pulling(lab, *[[layer(5), None] for _index in range(9)])
    with pytest.raises(errors.IncompleteResponseError):
        LongCalls(client).pull("m", policy=NO_WAIT)
    assert count == [3]


@pytest.mark.parametrize(
    "text, tries",
    [
        ("max retries exceeded: EOF", 3),
        ("pull model manifest: 503: oops", 3),
        ("digest mismatch, file must be downloaded again: want x, got y", 3),
        ("pull model manifest: file does not exist", 1),
        ("write /models/blobs/x: no space left on device", 1),
        ("unauthorized", 1),
    ],
)
def test_only_errors_that_may_pass_are_tried_again(lab: Any, text: str, tries: int) -> None:
    client, count = pulling(lab, *[[{"status": "pulling manifest"}, {"error": text}] for _index in range(3)])
    with pytest.raises(errors.ApiError) as caught:
        LongCalls(client).pull("m", policy=NO_WAIT)
    assert count == [tries]
    assert caught.value.server_message == text


def standing_still(connection: Any) -> None:
    connection.request()
    connection.begin_stream()
    while True:
        connection.line(layer(10))
        time.sleep(0.02)


@pytest.mark.parametrize("act", ["pull", "push"])
def test_reports_without_movement_are_a_stall(lab: Any, act: str) -> None:
    client = lab.client(lab.server(standing_still))
    started = time.monotonic()
    with pytest.raises(StalledError, match=r"has not moved for 0\.3 seconds, at 'pulling aaaa'"):
        getattr(LongCalls(client, stall_timeout=0.3), act)("m")
    assert 0.3 <= time.monotonic() - started < 20


def test_movement_is_no_stall_however_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(long_calls, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watch = long_calls._Watch(400)
    for completed in (1, 2, 1, 2, 3):  # backwards, too: what did not verify is dropped and loaded again
        for _index in range(4):
            assert not watch.stalls(layer(completed))
            now[0] += 99
    now[0] += 5
    assert watch.stalls(layer(3))


def test_a_server_that_comes_back_is_waited_for(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_calls, "RESTART_TIME", 0.5)
    down = [True]

    def script(connection: Any) -> None:
        while True:
            method, path, _headers, _body = connection.request()
            if not method:
                return
            if path == "/api/version":
                if down.pop() if down else False:
                    return  # still starting
                connection.answer({"version": "1"})
            else:
                connection.begin_stream()
                if down:
                    connection.line(layer(1))
                    return
                connection.line({"status": "success"})
                connection.end_stream()

    LongCalls(lab.client(lab.server(script), retries=0)).pull("m", policy=NO_WAIT)


def test_a_server_that_does_not_come_back(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_calls, "RESTART_TIME", 0.0)
    held: list[Any] = []

    def script(connection: Any) -> None:
        connection.request()
        connection.begin_stream()
        connection.line(layer(1))
        held[0].refuse()

    held.append(lab.server(script))
    with pytest.raises(errors.ServerUnreachableError) as caught:
        LongCalls(lab.client(held[0], retries=0)).pull("m", policy=NO_WAIT)
    assert isinstance(caught.value.__cause__, errors.IncompleteResponseError)
