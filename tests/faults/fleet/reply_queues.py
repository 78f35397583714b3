# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of reply queues, which record each arrival with its queue and time."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pika

_DELTA = "llm.fleet.delta"


@dataclass(frozen=True)
class Arrival:
    """A message in a reply queue; ``at`` is on the monotonic clock."""

    queue: str
    at: float
    properties: Any
    body: bytes


class ReplyQueues:
    """A number of queues, and a thread that reads them all.

    :ivar names: of the queues.
    """

    def __init__(self, broker: Any, number: int) -> None:
        self._broker = broker
        mark = uuid.uuid4().hex[:12]
        self.names = [f"llm.fleet.reply.{mark}-{position}" for position in range(number)]
        self._changed = threading.Condition()
        self._arrivals: list[Arrival] = []
        self._connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
        self._channel = self._connection.channel()
        for name in self.names:
            self._channel.queue_declare(name, auto_delete=True)
            self._channel.basic_consume(name, self._arrived, auto_ack=True, consumer_tag=name)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def take(self) -> list[Arrival]:
        """Return and remove the arrivals."""
        with self._changed:
            arrivals, self._arrivals = self._arrivals, []
            return arrivals

    def wait(self, enough: Callable[[list[Arrival]], bool], within: float) -> list[Arrival]:
        """Wait until enough messages have arrived, or the time is over; return the arrivals."""
        with self._changed:
            self._changed.wait_for(lambda: enough(self._arrivals), within)
            return list(self._arrivals)

    def close(self) -> None:
        with contextlib.suppress(pika.exceptions.AMQPError):
            self._connection.add_callback_threadsafe(self._channel.stop_consuming)
            self._thread.join(10)
            self._connection.close()

    def _arrived(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if properties.type == _DELTA:
            return
        with self._changed:
            self._arrivals.append(Arrival(method.consumer_tag, time.monotonic(), properties, body))
            self._changed.notify_all()

    def _read(self) -> None:
        self._channel.start_consuming()
