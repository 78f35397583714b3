# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads that work together: their number, their end, and the interruption of the wait."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.threads import together


def never(_interruption):
    raise AssertionError("it was stopped")


def test_together_runs_the_work_at_once_on_named_threads():
    meet, names = threading.Barrier(3, timeout=5), []

    def work():
        meet.wait()
        thread = threading.current_thread()
        names.append(thread.name)
        assert thread.daemon, "the end of the process would wait for it"

    together(work, 3, "transfer", never)
    assert sorted(names) == ["transfer-0", "transfer-1", "transfer-2"]


def test_together_returns_after_the_last_thread():
    slow, ended = threading.Event(), []

    def work():
        if threading.current_thread().name == "t-1":
            slow.wait(5)
        ended.append(threading.current_thread().name)

    timer = threading.Timer(0.05, slow.set)
    timer.start()
    together(work, 2, "t", never)
    assert ended == ["t-0", "t-1"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), ValueError("no")])
def test_together_interrupted_wait_stops_the_threads_and_raises(monkeypatch, interruption):
    over, stopped = threading.Event(), []

    def stop(error):
        stopped.append(error)
        over.set()

    def interrupted(_thread, _timeout=None):
        raise interruption

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(type(interruption)):
        together(lambda: over.wait(5), 2, "t", stop)
    assert stopped == [interruption]


def test_together_thread_that_cannot_start_stops_the_others(monkeypatch):
    over, stopped = threading.Event(), []
    start = threading.Thread.start

    def few(thread):
        if thread.name == "t-1":
            raise RuntimeError("can't start new thread")
        start(thread)

    def stop(error):
        stopped.append(error)
        over.set()

    monkeypatch.setattr(threading.Thread, "start", few)
    with pytest.raises(RuntimeError, match="can't start"):
        together(lambda: over.wait(5), 2, "t", stop)
    assert len(stopped) == 1
