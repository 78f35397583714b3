# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load of the worker: when it counts as busy, and that its failures do not matter."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Optional

import pytest
from blob_server import busy_worker
from blob_server.busy_worker import FRESH, BusyWorker

IDLE = 'fleet_worker_in_flight{queue="a"} 0.0'
BUSY = 'fleet_worker_in_flight{queue="b"} 2.0'


class Worker:
    """The metrics of a worker.

    :ivar text: the metrics.
    :ivar length: the announced bytes; ``None`` for the right number.
    :ivar paths: the target of each request.
    """

    def __init__(self) -> None:
        self.text = IDLE
        self.length: Optional[int] = None
        self.paths: list[str] = []
        worker = self

        class Metrics(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                worker.paths.append(self.path)
                body = worker.text.encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body) if worker.length is None else worker.length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the monotonic clock, which stands still. The sockets have their own."""
    found = [1000.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return found[0]

    monkeypatch.setattr(busy_worker, "time", Clock)
    return found


@pytest.mark.parametrize(
    "text, busy",
    [
        ("", False),
        (IDLE, False),
        (BUSY, True),
        (f"# HELP fleet_worker_in_flight Requests.\n{IDLE}\n{BUSY}\n", True),
        (f"{BUSY}\n{IDLE}\n", True),
        ('fleet_worker_in_flight{queue="a"} 1e+06', True),
        ('fleet_worker_in_flight_total{queue="a"} 5.0', False),
        ('x_fleet_worker_in_flight{queue="a"} 5.0', False),
        ('fleet_worker_in_flight{queue="a"} NaN', False),
        ('fleet_worker_in_flight{queue="a"} 1.2.3', False),
    ],
)
def test_worker_is_busy_with_a_request_in_any_lane(worker: Worker, text: str, busy: bool) -> None:
    worker.text = text
    assert BusyWorker(worker.address).is_busy() is busy
    assert worker.paths == ["/metrics?name[]=fleet_worker_in_flight"]


def test_answer_is_valid_for_a_moment(worker: Worker, now: list[float]) -> None:
    asked = BusyWorker(worker.address)
    assert not asked.is_busy()
    worker.text = BUSY
    now[0] += FRESH - 0.01
    assert not asked.is_busy()
    assert len(worker.paths) == 1
    now[0] += 0.01
    assert asked.is_busy()
    assert len(worker.paths) == 2


def test_worker_that_cannot_be_asked_any_more_is_idle(worker: Worker, now: list[float]) -> None:
    asked = BusyWorker(worker.address)
    worker.text = BUSY
    assert asked.is_busy()
    worker.length = 5000  # the connection ends before that
    now[0] += FRESH
    assert not asked.is_busy()
    worker.length = None
    assert not asked.is_busy(), "a failure is valid for a moment, too, because the question may take long"
    now[0] += FRESH
    assert asked.is_busy()


def test_worker_that_is_not_there_is_idle(worker: Worker) -> None:
    worker.server.server_close()
    assert not BusyWorker(worker.address).is_busy()


def test_worker_that_does_not_speak_http_is_idle(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.server.RequestHandlerClass, "protocol_version", "SMTP")
    worker.text = BUSY
    assert not BusyWorker(worker.address).is_busy()


def test_many_threads_ask_once(worker: Worker, now: list[float]) -> None:
    asked, found = BusyWorker(worker.address), []
    worker.text = BUSY
    threads = [threading.Thread(target=lambda: found.append(asked.is_busy())) for _upload in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert found == [True] * 8
    assert len(worker.paths) == 1


def test_invalid_address_is_refused() -> None:
    with pytest.raises(ValueError, match="is not an address"):
        BusyWorker("no address")
