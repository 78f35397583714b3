# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection at pika's level whose channels open, are answered and end when a test says so."""

from __future__ import annotations

import time
from typing import Any, Callable, Optional

import pika
import pytest
from fleet_worker.amqp.getters import PATIENCE
from pika import spec
from pika.exceptions import ChannelClosedByBroker, ChannelWrongStateError, ConnectionWrongStateError

REFUSAL = ChannelClosedByBroker(403, "ACCESS_REFUSED - access to queue refused")


class ManualChannel:
    """A channel that keeps each command of the worker until a test answers it."""

    def __init__(self) -> None:
        self.is_open = True
        self.asked = ""
        self.answered = False
        self.consumed: list[str] = []
        self.priorities: list[Optional[int]] = []
        self.cancelled: list[str] = []
        self.settled: list[tuple[str, int]] = []
        self.steps: list[Callable[..., None]] = []
        self.looked = ""

    def add_on_close_callback(self, callback: Callable[..., None]) -> None:
        self.closed = callback

    def add_on_cancel_callback(self, callback: Callable[..., None]) -> None:
        self.cancelled_by_broker = callback

    def add_callback(self, callback: Callable[..., None], replies: list[Any], one_shot: bool) -> None:
        if replies == [spec.Basic.GetEmpty]:
            self.empty = callback
        else:
            self.cancel_ok = callback

    def basic_qos(self, prefetch_count: int, callback: Callable[..., None]) -> None:
        self.raise_unless_open()
        self.steps.append(callback)

    def basic_consume(self, queue: str, received: Any, arguments: Any, callback: Callable[..., None]) -> str:
        self.consumed.append(queue)
        self.priorities.append(arguments.get("x-priority"))
        self.received = received
        self.steps.append(callback)
        return f"tag-{queue}-{len(self.consumed)}"

    def basic_cancel(self, tag: str, callback: Callable[..., None]) -> None:
        self.raise_unless_open()
        self.cancelled.append(tag)

    def basic_get(self, queue: str, received: Any) -> None:
        self.asked, self.received = queue, received

    def queue_declare(self, queue: str, passive: bool, callback: Callable[..., None]) -> None:
        assert passive
        self.looked, self.found = queue, callback

    def show(self, consumers: int) -> None:
        """Say how many consumers the queue has that was looked at."""
        self.found(type("Frame", (), {"method": spec.Queue.DeclareOk(self.looked, 3, consumers)})())

    def basic_ack(self, tag: int) -> None:
        self.settled.append(("ack", tag))

    def basic_reject(self, tag: int, requeue: bool) -> None:
        self.settled.append(("reject", tag))

    def answer(self, tag: int = 1, headers: Any = None, more: int = 0) -> None:
        """Give a message to whoever asked or consumes."""
        self.asked, self.answered = "", True
        method = spec.Basic.GetOk(delivery_tag=tag, redelivered=False, message_count=more)
        self.received(self, method, pika.BasicProperties(headers=headers, message_id="m"), b"{}")

    def close(self) -> None:
        self.raise_unless_open()
        self.is_open = False

    def raise_unless_open(self) -> None:
        if not self.is_open:
            raise ChannelWrongStateError("Channel is closing.")

    def end(self) -> None:
        """Close the channel as a broker does that refuses what was asked."""
        self.is_open = False
        self.closed(self, REFUSAL)


class ManualConnection:
    """A connection, with its channels in the order in which they were asked for."""

    is_open = True

    def __init__(self) -> None:
        self.channels: list[ManualChannel] = []
        self._opening: list[Any] = []
        self._timers: list[Callable[[], None]] = []

    def close(self) -> None:
        """Begin to close the connection, as pika does."""
        self.is_open = False
        for channel in self.channels:
            channel.is_open = False

    def channel(self, on_open_callback: Callable[[Any], None]) -> ManualChannel:
        if not self.is_open:
            raise ConnectionWrongStateError("Channel allocation requires an open connection")
        channel = ManualChannel()
        self.channels.append(channel)
        self._opening.append((on_open_callback, channel))
        return channel

    def call_later(self, _seconds: float, callback: Callable[[], None]) -> None:
        self._timers.append(callback)

    def wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the broker's time to answer pass."""
        now = time.monotonic() + PATIENCE
        monkeypatch.setattr(time, "monotonic", lambda: now)
        timers, self._timers = self._timers, []
        for timer in timers:
            timer()
        self.open()

    def open(self) -> None:
        opening, self._opening = self._opening, []
        for opened, channel in opening:
            opened(channel)

    def asking(self, queue: str) -> ManualChannel:
        """Return the channel that has asked for a queue last."""
        return next(channel for channel in reversed(self.channels) if channel.asked == queue)

    def looking(self, queue: str) -> ManualChannel:
        """Return the channel that has looked at a queue last."""
        return next(channel for channel in reversed(self.channels) if channel.looked == queue)
