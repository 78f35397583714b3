# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Helper threads survive their errors, and the supervisor knows which of them does not do its work."""

from __future__ import annotations

import queue
import threading
from typing import Any, Callable, Optional

import pytest
from fleet_worker.runtime.supervisor import BACKOFF_CAP, RoundThread, Supervisor
from fleet_worker.runtime.thread_pool import ThreadPool

WITHIN = 30.0


class Rounds:
    """What a thread waits for and handles, one step at a time."""

    def __init__(self, handle: Callable[[Any], None], **settings: Any) -> None:
        self.given: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.thread = RoundThread("test", self.given.get, handle, **settings)
        self.thread.start()

    def end(self) -> None:
        self.thread.stop()
        self.given.put(None)


@pytest.mark.parametrize(
    "error",
    [ValueError("odd"), RecursionError(), MemoryError(), SystemExit(1), KeyboardInterrupt(), GeneratorExit()],
)
def test_thread_handler_raises_next_round_runs(error: BaseException) -> None:
    handled: queue.SimpleQueue[str] = queue.SimpleQueue()

    def handle(item: Any) -> None:
        if item == "bad":
            raise error
        handled.put(item)

    rounds = Rounds(handle)
    for item in ("bad", "good"):
        rounds.given.put(item)
    assert handled.get(timeout=WITHIN) == "good"
    assert rounds.thread.trouble == ""
    rounds.end()


def test_thread_log_raises_next_round_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any, **_fields: Any) -> None:
        raise OSError("the log is gone")

    monkeypatch.setattr("fleet_worker.runtime.supervisor.LOG.exception", broken)
    handled: queue.SimpleQueue[str] = queue.SimpleQueue()
    rounds = Rounds(lambda item: handled.put(item[1]))
    rounds.given.put(None)
    rounds.given.put((0, "good"))
    assert handled.get(timeout=WITHIN) == "good"
    rounds.end()


def test_thread_wait_raises_each_time_pauses_grow_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait() -> None:
        raise OSError("closed")

    thread = RoundThread("test", wait, lambda item: None)
    pauses: list[float] = []

    def pause(seconds: Optional[float] = None) -> bool:
        pauses.append(seconds or 0.0)
        if len(pauses) == 12:
            thread.stop()
        return False

    monkeypatch.setattr(thread._stopped, "wait", pause)
    thread._run()
    assert pauses == sorted(pauses)
    assert (pauses[0] < 0.1, pauses[-1]) == (True, BACKOFF_CAP)


def test_supervisor_round_exceeds_patience_names_the_thread() -> None:
    now = 0.0
    entered, leave = threading.Event(), threading.Event()

    def handle(_item: Any) -> None:
        entered.set()
        leave.wait(WITHIN)

    rounds = Rounds(handle, patience=10.0, clock=lambda: now)
    supervisor = Supervisor()
    supervisor.watch(rounds.thread)
    now = 1000.0
    assert supervisor.trouble == "", "a thread that waits is not stalled, however long"
    rounds.given.put("item")
    assert entered.wait(WITHIN)
    assert supervisor.trouble == ""
    now += 11
    assert supervisor.trouble == "the thread test has been busy for 11 s"
    rounds.thread.progress()
    assert supervisor.trouble == ""
    leave.set()
    rounds.end()


def test_supervisor_thread_has_ended_names_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = RoundThread("test", lambda: None, lambda item: None)
    monkeypatch.setattr(thread._thread, "_target", lambda: None)
    supervisor = Supervisor()
    supervisor.watch(thread)
    assert supervisor.trouble == "", "not started yet"
    thread.start()
    thread._thread.join(WITHIN)
    assert supervisor.trouble == "the thread test has ended"
    thread.stop()
    assert supervisor.trouble == ""


def test_pool_task_raises_next_task_runs() -> None:
    pool = ThreadPool(1)
    pool.start()
    done = threading.Event()

    def bad() -> None:
        raise RuntimeError("a defect")

    pool.submit(bad)
    pool.submit(done.set)
    assert done.wait(WITHIN)
    pool.stop()
    pool.threads[0]._thread.join(WITHIN)
    assert not pool.threads[0]._thread.is_alive()


def test_pool_allows_the_longest_request_of_all_lanes_there_were() -> None:
    pool = ThreadPool(2)
    for seconds in (100.0, 1500.0, 280.0):
        pool.allow(seconds)
    assert [thread.patience for thread in pool.threads] == [1500.0, 1500.0]
