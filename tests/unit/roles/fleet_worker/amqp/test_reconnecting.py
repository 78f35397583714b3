# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to the broker is tried again, whatever ends an attempt."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any, Callable

import pytest
from fleet_worker._fleet.broker import Address, BrokerSettings
from fleet_worker.amqp import reconnecting as link_module
from fleet_worker.amqp.reconnecting import ATTEMPT, ReconnectingConnection
from pika.exceptions import AMQPHeartbeatTimeout, StreamLostError


class Timers:
    """A loop that has only timers."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.waiting.append((delay, callback))

    def fire(self, longest: float) -> None:
        due = [callback for delay, callback in self.waiting if delay <= longest]
        self.waiting = [entry for entry in self.waiting if entry[0] > longest]
        for callback in due:
            callback()


class Attempt:
    """A connection of pika that never calls back."""

    made: list[Attempt]
    is_open = is_closed = False

    def __init__(self, _parameters: Any, _loop: Any, **callbacks: Any) -> None:
        self.callbacks = callbacks
        self.ended = False
        Attempt.made.append(self)

    def close(self, *_arguments: Any) -> None:
        self.ended = True


class Heard:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
        Attempt.made = []
        monkeypatch.setattr(link_module, "Connection", Attempt)
        self.loop = Timers()
        self.opened: list[Any] = []
        self.lost: list[Any] = []
        self.failed: list[str] = []
        self.link = ReconnectingConnection(
            self.loop,
            BrokerSettings(addresses=tuple(Address(host, 5672) for host in hosts)),
            opened=self.opened.append,
            lost=self.lost.append,
            failed=lambda error: self.failed.append(str(error)),
        )


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(monkeypatch, "hub")


def test_attempt_without_descriptors_fails_with_that_reason_and_is_tried_again(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_arguments: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(link_module.socket, "socket", exhausted)
        heard.link.start()
    assert Attempt.made == []
    assert "may not open more files" in heard.failed[0]
    assert "LimitNOFILE=" in heard.failed[0]
    assert "firewall" not in heard.failed[0]
    heard.loop.fire(longest=30)
    assert len(Attempt.made) == 1


def test_attempt_of_which_nothing_is_heard_is_abandoned_and_tried_again(heard: Heard) -> None:
    heard.link.start()
    heard.loop.fire(longest=ATTEMPT)
    assert len(heard.failed) == 1
    heard.loop.fire(longest=30)
    first, second = Attempt.made
    first.callbacks["on_open_callback"](first)
    first.callbacks["on_close_callback"](first, OSError())
    first.callbacks["on_open_error_callback"](first, OSError())
    assert (first.ended, heard.opened, heard.lost, len(heard.failed)) == (True, [], [], 1)
    second.callbacks["on_open_callback"](second)
    assert heard.opened == [second]


def test_pause_doubles_with_each_failed_round_up_to_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(monkeypatch, "hub", "hub-2")
    monkeypatch.setattr(link_module, "PAUSES", replace(link_module.PAUSES, chance=lambda: 1.0))
    heard.link.start()
    pauses: list[float] = []
    for _attempt in range(14):
        attempt = Attempt.made[-1]
        attempt.callbacks["on_open_error_callback"](attempt, OSError("refused"))
        seconds, again = heard.loop.waiting.pop()
        pauses.append(seconds)
        again()
    assert pauses[0::2] == [0.0] * 7, "the second address is tried at once"
    assert pauses[1::2] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_attempt_that_came_about_is_not_abandoned(heard: Heard) -> None:
    heard.link.start()
    (attempt,) = Attempt.made
    attempt.callbacks["on_open_callback"](attempt)
    attempt.is_open = True
    heard.loop.fire(longest=ATTEMPT)
    assert heard.failed == []


def open_connection(heard: Heard) -> Any:
    attempt = Attempt.made[-1]
    attempt.is_open = True  # type: ignore[misc]
    attempt.callbacks["on_open_callback"](attempt)
    return attempt


def lose(attempt: Any) -> None:
    attempt.is_open, attempt.is_closed = False, True
    attempt.callbacks["on_close_callback"](attempt, OSError("gone"))


def test_link_is_connected_from_opened_to_lost(heard: Heard) -> None:
    seen: list[tuple[bool, bool]] = []
    heard.link._lost = lambda _error: seen.append((heard.link.is_connected, heard.link.is_open))
    assert not heard.link.is_connected and not heard.link.is_open
    heard.link.start()
    assert not heard.link.is_connected
    attempt = open_connection(heard)
    assert heard.link.is_connected and heard.link.is_open
    attempt.is_open = False
    assert heard.link.is_connected and not heard.link.is_open, "it is closing"
    lose(attempt)
    assert seen == [(False, False)]


def test_call_later_over_the_same_connection_calls_back(heard: Heard) -> None:
    called: list[str] = []
    heard.link.start()
    open_connection(heard)
    heard.link.call_later(5.0, lambda: called.append("one"))
    heard.loop.fire(longest=5.0)
    assert called == ["one"]


def test_call_later_after_the_connection_is_gone_or_another_calls_nobody(heard: Heard) -> None:
    called: list[str] = []
    heard.link.start()
    first = open_connection(heard)
    for seconds in (40.0, 50.0):
        heard.link.call_later(seconds, lambda: called.append("late"))
    lose(first)
    waiting = [entry for entry in heard.loop.waiting if entry[0] == 40.0]
    for _seconds, callback in waiting:
        callback()
    heard.loop.fire(longest=30.0)
    second = open_connection(heard)
    assert second is not first and heard.link.is_open
    heard.loop.fire(longest=50.0)
    assert called == []


def test_call_later_without_a_connection_calls_nobody(heard: Heard) -> None:
    called: list[str] = []
    heard.link.call_later(1.0, lambda: called.append("never"))
    heard.loop.fire(longest=1.0)
    assert called == []


def test_connection_that_falls_silent_is_followed_by_one_to_the_next_node(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(monkeypatch, "first", "second")
    heard.link.start()
    for error, address in ((StreamLostError(), "first:5672"), (AMQPHeartbeatTimeout("silence"), "second:5672")):
        attempt = Attempt.made[-1]
        attempt.callbacks["on_open_callback"](attempt)
        attempt.callbacks["on_close_callback"](attempt, error)
        heard.loop.fire(longest=30)
        assert heard.link.address == address
