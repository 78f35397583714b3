# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads of the pool: as many tasks at the same time as threads, and an end after the current task."""

from __future__ import annotations

import threading

from fleet_worker.runtime.thread_pool import ThreadPool

WITHIN = 30.0


def test_pool_runs_as_many_tasks_at_the_same_time_as_it_has_threads() -> None:
    pool = ThreadPool(3)
    pool.start()
    together = threading.Barrier(4)
    for _thread in pool.threads:
        pool.submit(lambda: together.wait(WITHIN) and None)
    together.wait(WITHIN)
    pool.stop()
    assert len({thread.name for thread in pool.threads}) == 3


def test_pool_that_stops_ends_each_thread_after_its_task() -> None:
    pool = ThreadPool(2)
    pool.start()
    entered, leave, done = threading.Event(), threading.Event(), threading.Event()

    def task() -> None:
        entered.set()
        leave.wait(WITHIN)
        done.set()

    pool.submit(task)
    assert entered.wait(WITHIN)
    pool.stop()
    leave.set()
    for thread in pool.threads:
        thread._thread.join(WITHIN)
    assert done.is_set() and not any(thread._thread.is_alive() for thread in pool.threads)


def test_pool_patience_is_unlimited_until_it_is_set_and_never_falls() -> None:
    pool = ThreadPool(1)
    assert pool.threads[0].patience is None
    for seconds, patience in ((100.0, 100.0), (50.0, 100.0), (200.0, 200.0)):
        pool.allow(seconds)
        assert pool.threads[0].patience == patience
