# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requesters, as many as wanted, on one connection: the same client for every contestant.

Each request is published with confirm and mandatory, and is over when its answer and its confirm are both here. pika's
asynchronous adapter is used because the blocking one adds 2 ms to each message, which would hide what is compared.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

import pika
from pika.adapters.select_connection import IOLoop

#: Seconds without any answer after which something must be broken.
PATIENCE = 120.0

Encode = Callable[[str, dict[str, Any]], tuple[bytes, dict[str, Any]]]


def typed(_number: str, request: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Return a request of the typed dialect: body, and headers."""
    return json.dumps(request).encode(), {}


def celery(number: str, request: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Return the same as a task (message protocol 2 of Celery's documentation)."""
    options = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    headers = {
        "lang": "py",
        "task": "bench.serve",
        "id": number,
        "root_id": number,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "origin": "bench",
        "ignore_result": True,
    }
    return json.dumps([[], {"request": request}, options]).encode(), headers


@dataclass(frozen=True)
class Target:
    """Whom to ask: lanes of one contestant with the model of each, and how it reads requests."""

    queues: Sequence[str]
    models: Sequence[str]
    encode: Encode = typed


@dataclass
class Ask:
    """One request.

    :ivar body: what is asked; the lane's model is added.
    :ivar lane: number of the lane among the target's; they take turns when None.
    """

    body: dict[str, Any]
    lane: Optional[int] = None


@dataclass
class Answer:
    """The outcome of a request: when it was published, and how many seconds later its answer came."""

    ask: Ask
    number: str
    published: float
    seconds: float = 0.0
    body: bytes = b""
    confirmed: bool = False


#: Makes the request of a number, in place of one that was answered (None: there was room from the start); None ends it.
Asks = Callable[[int, Optional[Answer]], Optional[Ask]]


class Crowd:
    """The connection of all requesters.

    :param exchange: requests are published to it, with the lane as routing key.
    """

    def __init__(self, url: str, exchange: str = "llm.request") -> None:
        self._exchange = exchange
        self._loop = IOLoop()
        self._failure: Optional[str] = None
        self._turn = 0
        self._tag = 0
        self._by_tag: dict[int, Answer] = {}
        self._open: dict[str, Answer] = {}
        self._over: Callable[[Answer], None] = lambda _answer: None
        self.reply_to = f"llm.fleet.reply.{uuid.uuid4().hex[:16]}"
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0  # between two measurements nobody turns the loop
        self._connection = pika.SelectConnection(
            parameters,
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._on_channel),
            on_open_error_callback=lambda _connection, error: self._fail(f"cannot connect: {error}"),
            on_close_callback=lambda _connection, error: self._fail(f"connection lost: {error}"),
            custom_ioloop=self._loop,
        )
        self._wait()

    def run(
        self, target: Target, asks: Asks, in_flight: int = 1, take: Optional[Callable[[Answer], None]] = None
    ) -> tuple[float, list[Answer]]:
        """Keep so many requests in flight until there are no more; return the seconds and the answers.

        :param take: is given each answer instead of its being kept.
        """
        answers: list[Answer] = []
        keep = take or answers.append
        made = 0

        def more(answered: Optional[Answer]) -> None:
            nonlocal made
            while len(self._open) < in_flight:
                ask = asks(made, answered)
                if ask is None:
                    break
                made += 1
                self._publish(target, ask)

        def over(answer: Answer) -> None:
            keep(answer)
            more(answer)
            if not self._open:
                self._loop.stop()

        self._over = over
        start = time.perf_counter()
        more(None)
        self._wait()
        return time.perf_counter() - start, answers

    def close(self) -> None:
        if self._connection.is_open:
            self._failure = ""
            self._connection.close()
            self._loop.start()

    def _publish(self, target: Target, ask: Ask) -> None:
        number = f"req_{uuid.uuid4()}"
        lane = self._turn % len(target.queues) if ask.lane is None else ask.lane
        self._turn += 1
        body, headers = target.encode(number, {"model": target.models[lane], **ask.body})
        properties = pika.BasicProperties(
            content_type="application/json",
            content_encoding="utf-8",
            type="llm.fleet.request",
            reply_to=self.reply_to,
            correlation_id=number,
            message_id=number,
            delivery_mode=2,
            headers=headers,
        )
        self._tag += 1
        answer = Answer(ask, number, time.perf_counter())
        self._by_tag[self._tag] = self._open[number] = answer
        self._channel.basic_publish(self._exchange, target.queues[lane], body, properties, mandatory=True)

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_return_callback(
            lambda _channel, method, _properties, _body: self._fail(f"no queue takes {method.routing_key}")
        )
        channel.add_on_close_callback(lambda _channel, error: self._fail(f"channel closed: {error}"))
        channel.confirm_delivery(self._on_confirmed)
        channel.queue_declare(self.reply_to, auto_delete=True, exclusive=True)
        channel.basic_consume(self.reply_to, self._on_answer, auto_ack=True, callback=lambda _frame: self._loop.stop())

    def _on_confirmed(self, frame: Any) -> None:
        method = frame.method
        if isinstance(method, pika.spec.Basic.Nack):
            self._fail("the broker refused a request")
        last = method.delivery_tag
        for tag in [tag for tag in self._by_tag if tag == last or (method.multiple and tag <= last)]:
            answer = self._by_tag.pop(tag)
            answer.confirmed = True
            self._settle(answer)

    def _on_answer(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        answer = self._open.get(properties.correlation_id)
        if answer is None:
            self._fail(f"a second answer to {properties.correlation_id}")
            return
        if properties.type != "llm.fleet.response":
            self._fail(f"an answer of type {properties.type}: {body[:500]!r}")
        answer.body = body
        self._settle(answer)

    def _settle(self, answer: Answer) -> None:
        if answer.confirmed and answer.body:
            answer.seconds = time.perf_counter() - answer.published
            del self._open[answer.number]
            self._over(answer)

    def _fail(self, what: str) -> None:
        if self._failure is None:
            self._failure = what
        self._loop.stop()

    def _wait(self) -> None:
        """Turn the loop until somebody stops it.

        :raises RuntimeError: when the broker or a contestant fails, or when nothing comes any more.
        """
        before = -1

        def look() -> None:
            nonlocal before, alarm
            if before == self._turn + len(self._open):
                self._fail(f"{len(self._open)} requests were not answered within {PATIENCE:.0f} s")
            before = self._turn + len(self._open)
            alarm = self._loop.call_later(PATIENCE, look)

        alarm = self._loop.call_later(PATIENCE, look)
        self._loop.start()
        self._loop.remove_timeout(alarm)
        if self._failure is not None:
            raise RuntimeError(self._failure)
