# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of the I/O thread."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Callable

import pytest
from fleet_worker.runtime.event_loop import EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


def run(loop: EventLoop, within: float = 10.0) -> None:
    """Turn until somebody stops it."""
    alarm = loop.call_later(within, lambda: pytest.fail(f"nobody has stopped it within {within} s"))
    loop.start()
    loop.remove_timeout(alarm)


def test_timers_in_their_order(loop: EventLoop) -> None:
    seen: list[str] = []
    loop.call_later(0.03, lambda: seen.append("third"))
    loop.call_later(0.01, lambda: seen.append("first"))
    loop.call_later(0.01, lambda: seen.append("second"))
    removed = loop.call_later(0.0, lambda: seen.append("never"))
    loop.remove_timeout(removed)
    loop.remove_timeout(removed)
    loop.call_later(0.05, loop.stop)
    run(loop)
    assert seen == ["first", "second", "third"]


def test_a_timer_that_another_one_of_the_same_moment_removes(loop: EventLoop) -> None:
    seen: list[str] = []
    loop.call_later(0.0, lambda: loop.remove_timeout(other))
    other = loop.call_later(0.0, lambda: seen.append("never"))
    loop.call_later(0.02, loop.stop)
    run(loop)
    assert seen == []


def test_removed_timers_do_not_pile_up(loop: EventLoop) -> None:
    for _number in range(5000):
        loop.remove_timeout(loop.call_later(3600.0, lambda: None))
    loop.call_later(0.0, loop.stop)
    run(loop)
    assert len(loop._timers) < 1000


def test_callbacks_of_other_threads_wake_it_and_none_is_lost(loop: EventLoop) -> None:
    number = 2000
    seen: list[int] = []

    def add() -> None:
        for index in range(number):
            loop.add_callback_threadsafe(partial(seen.append, index))
            if index % 50 == 0:
                time.sleep(0.0005)  # so that the loop sleeps, too

    threads = [threading.Thread(target=add) for _thread in range(4)]

    def look() -> None:
        if len(seen) == 4 * number:
            loop.stop()
        else:
            loop.call_later(0.01, look)

    look()
    for thread in threads:
        thread.start()
    run(loop, within=30.0)
    assert len(seen) == 4 * number


def test_a_callback_of_another_thread_does_not_wait_for_a_timer(loop: EventLoop) -> None:
    threading.Timer(0.05, lambda: loop.add_callback_threadsafe(loop.stop)).start()
    begun = time.monotonic()
    run(loop, within=60.0)
    assert time.monotonic() - begun < 55.0


def test_a_callback_that_adds_itself_does_not_keep_the_others_from_their_turn(loop: EventLoop) -> None:
    def again() -> None:
        loop.add_callback_threadsafe(again)

    again()
    loop.call_later(0.01, loop.stop)
    run(loop)


def test_the_end_of_a_turn_comes_after_everything_of_it(loop: EventLoop) -> None:
    seen: list[str] = []

    def first() -> None:
        loop.at_end_of_turn(lambda: seen.append("end"))
        seen.append("first")

    loop.add_callback_threadsafe(first)
    loop.add_callback_threadsafe(lambda: seen.append("second"))
    loop.call_later(0.0, lambda: seen.append("timer"))
    loop.call_later(0.02, loop.stop)
    run(loop)
    assert seen == ["first", "second", "timer", "end"]


def test_a_handler_that_an_earlier_one_of_the_turn_has_removed_is_not_called(loop: EventLoop) -> None:
    pairs = [socket.socketpair() for _pair in range(2)]
    seen: list[int] = []

    def handle(own: int) -> Callable[[int, int], None]:
        def handler(_descriptor: int, _events: int) -> None:
            seen.append(own)
            for mine, _other in pairs:
                loop.remove_handler(mine.fileno())
            loop.stop()

        return handler

    for index, (mine, other) in enumerate(pairs):
        loop.add_handler(mine.fileno(), handle(index), loop.READ)
        other.send(b"!")
    run(loop)
    assert len(seen) == 1
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_handler_gets_only_the_events_it_watches(loop: EventLoop) -> None:
    mine, other = socket.socketpair()
    seen: list[int] = []

    def handler(_descriptor: int, events: int) -> None:
        seen.append(events)
        if events & loop.WRITE:
            loop.update_handler(mine.fileno(), loop.READ)
            other.send(b"!")
        else:
            loop.stop()

    loop.add_handler(mine.fileno(), handler, loop.WRITE)
    run(loop)
    assert seen == [loop.WRITE, loop.READ]
    mine.close()
    other.close()


def test_loop_starts_again_and_closes_all_descriptors() -> None:
    before = len(os.listdir("/proc/self/fd"))
    loop = EventLoop()
    for _start in range(2):
        loop.call_later(0.0, loop.stop)
        run(loop)
    loop.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_callback_that_raises_does_not_keep_the_others_from_their_turn(loop: EventLoop) -> None:
    called: list[str] = []

    def raises() -> None:
        raise RuntimeError("a defect")

    loop.add_callback_threadsafe(raises)
    loop.add_callback_threadsafe(lambda: called.append("callback"))
    loop.call_later(0, raises)
    loop.call_later(0, lambda: called.append("timer"))
    loop.at_end_of_turn(raises)
    loop.at_end_of_turn(lambda: called.append("end"))
    loop.turn()
    assert called == ["callback", "timer", "end"]


def test_a_handler_that_raises_is_not_called_again_and_may_be_removed(loop: EventLoop) -> None:
    reading, writing = os.pipe()
    calls: list[int] = []

    def handler(descriptor: int, _events: int) -> None:
        calls.append(descriptor)
        raise RuntimeError("a defect")

    loop.add_handler(reading, handler, loop.READ)
    os.write(writing, b"x")
    for _turn in range(3):
        loop.call_later(0, lambda: None)
        loop.turn()
    assert calls == [reading]
    loop.update_handler(reading, loop.READ)
    loop.remove_handler(reading)
    os.close(reading)
    os.close(writing)
