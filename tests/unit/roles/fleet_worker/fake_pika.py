# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A broker at pika's level, which answers at once, and whose connections and channels open when a test says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Callable, Optional

import pytest
from pika.exceptions import ChannelClosedByBroker

REFUSAL = ChannelClosedByBroker(403, "ACCESS_REFUSED - access refused")


class FakeChannel:
    """A channel that answers each question at once, and keeps who wants to know of its end."""

    def __init__(self) -> None:
        self.is_open = True
        self.closed: list[Callable[..., None]] = []
        self.cancelled: list[Callable[..., None]] = []
        self.consumers: dict[str, Callable[..., None]] = {}

    def add_on_close_callback(self, callback: Callable[..., None]) -> None:
        self.closed.append(callback)

    def add_on_cancel_callback(self, callback: Callable[..., None]) -> None:
        self.cancelled.append(callback)

    def basic_consume(self, queue: str, arrived: Callable[..., None], **_options: Any) -> None:
        self.consumers[queue] = arrived

    def confirm_delivery(self, _confirmed: Any, callback: Callable[[Any], None]) -> None:
        callback(None)

    def queue_declare(self, queue: str, callback: Callable[[Any], None], **_options: Any) -> None:
        if queue in FakeConnection.refused:
            self.end()
        else:
            callback(None)

    def queue_bind(self, *_names: str, callback: Callable[[Any], None]) -> None:
        callback(None)

    def close(self) -> None:
        self.is_open = False

    def __getattr__(self, name: str) -> Any:
        return lambda *_arguments, **_options: None

    def end(self) -> None:
        """Close it as a broker does that refuses something."""
        self.is_open = False
        for callback in self.closed:
            callback(self, REFUSAL)

    def end_consumer(self, cancel: Any) -> None:
        """End the consumer as a broker does whose queue is deleted."""
        for callback in self.cancelled:
            callback(SimpleNamespace(method=cancel))


class FakeConnection:
    """pika's connection, whose channels open when a test says so."""

    made: list[FakeConnection] = []
    refused: set[str] = set()
    params = None
    is_closed = False

    def __init__(self, _parameters: Any, _loop: Any, **callbacks: Any) -> None:
        self.is_open = False
        self.callbacks = callbacks
        self.opening: list[tuple[Callable[[Any], None], FakeChannel]] = []
        self.blocked: list[Callable[..., None]] = []
        FakeConnection.made.append(self)

    def channel(self, on_open_callback: Callable[[Any], None]) -> FakeChannel:
        channel = FakeChannel()
        self.opening.append((on_open_callback, channel))
        return channel

    def add_on_connection_blocked_callback(self, callback: Callable[..., None]) -> None:
        self.blocked.append(callback)

    def add_on_connection_unblocked_callback(self, callback: Callable[..., None]) -> None:
        self.blocked.append(callback)

    def open(self) -> None:
        self.is_open = True
        self.callbacks["on_open_callback"](self)

    def open_channels(self) -> list[FakeChannel]:
        opening, self.opening = self.opening, []
        for opened, channel in opening:
            opened(channel)
        return [channel for _opened, channel in opening]

    def close(self, *_reason: Any) -> None:
        self.is_open = False

    def lose(self, error: Optional[Exception] = None) -> None:
        self.is_open, self.is_closed = False, True
        self.callbacks["on_close_callback"](self, error or OSError("gone"))


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the daemon's connections be fake ones."""
    FakeConnection.made.clear()
    FakeConnection.refused.clear()
    monkeypatch.setattr("fleet_worker.amqp.reconnecting.Connection", FakeConnection)
