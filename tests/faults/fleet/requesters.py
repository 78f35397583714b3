# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requesters of plain pika, one of which survives what the tests do to the broker, and the record that they keep."""

from __future__ import annotations

import contextlib
import json
import math
import time
import uuid
from collections.abc import Collection
from typing import Any, Optional

import pika
from fleet_worker._fleet.dialects.headers import REDELIVERED
from fleet_worker._fleet.dialects.typed import DELTA
from history import Event, Happened, History, Rules, Verdict, error_code, judge

#: Seconds for which a broker is asked for late answers; it may be gone.
LATE = 5.0

MESSAGES = [{"role": "user", "content": "Hello"}]


#: Seconds for which a fault can have effects: until everybody has noticed it, and has connected again.
LINGERS = 60.0


class Record:
    """What happened to the requests of a requester; judged after each test (conftest.py).

    :param errors: codes of the errors that the requests of the test are to get.
    :param always_broken: whether somebody else breaks things all the time, and does not say when.
    :ivar made: the records of the test that runs.
    :ivar faults: what was broken in it.
    """

    made: list[Record] = []
    faults: list[Event] = []

    def __init__(self, errors: Collection[str] = (), *, always_broken: bool = False) -> None:
        self.made.append(self)
        self.errors = set(errors)
        self._history = History()
        if always_broken:
            self._history.record(Happened.FAULT, seconds=math.inf)
        self._answer_ids: set[str] = set()
        self._given_up: set[str] = set()

    @classmethod
    def broken(cls, what: str) -> None:
        """Something was broken on purpose."""
        cls.faults.append(Event(Happened.FAULT, "", time.monotonic(), detail=what, seconds=LINGERS))

    def give_up(self, *correlation_ids: str) -> None:
        """Expect no answer to these requests."""
        self._given_up.update(correlation_ids)

    def sent(self, correlation_id: str) -> None:
        """A request is published. The broker can have taken what it did not confirm."""
        self._history.record(Happened.SENT, correlation_id, time.monotonic())

    def received(self, properties: Any, *, again: bool = False) -> bool:
        """A message has come; return whether it is new.

        :param again: whether the broker has delivered it before.
        """
        if again and properties.message_id in self._answer_ids:
            return False  # taken before, and the acknowledgement was lost
        self._answer_ids.add(properties.message_id)
        if properties.type != DELTA:
            self._history.record(
                Happened.RECEIVED,
                properties.correlation_id or "",
                time.monotonic(),
                detail=error_code(properties.headers),
                marked=bool((properties.headers or {}).get(REDELIVERED)),
            )
        return True

    def verdict(self, *, complete: bool = True) -> Verdict:
        """Say what was lost or doubled, and which errors nobody wanted.

        :param complete: whether all answers must have come.
        """
        rules = Rules(errors=dict.fromkeys(self.errors))
        verdict = judge([*self.faults, *self._history.events], rules)
        verdict.findings = [
            found
            for found in verdict.findings
            if found.kind != "lost" or (complete and found.request not in self._given_up)
        ]
        return verdict


class Asker:
    """Publishes with confirms, and keeps a durable reply queue, so that no answer is missed.

    :param record: that of several requesters; without it the requester has its own.
    :param errors: codes of the errors that its requests are to get.
    :ivar made: the requesters of the test that runs.
    :ivar record: what happened to its requests.
    """

    made: list[Asker] = []

    def __init__(
        self,
        broker: Any,
        queue: str,
        *,
        record: Optional[Record] = None,
        errors: Collection[str] = (),
        **properties: Any,
    ) -> None:
        self.made.append(self)
        self.record = Record() if record is None else record
        self.record.errors.update(errors)
        self._broker, self._queue, self._properties = broker, queue, properties
        self._connection: Optional[pika.BlockingConnection] = None
        self.reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
        self.asked: list[str] = []
        self.answers: dict[str, list[tuple[pika.BasicProperties, dict[str, Any]]]] = {}
        self._with_channel(lambda channel: channel.queue_declare(self.reply_to, durable=True))

    def ask(self, **body: Any) -> str:
        """Publish a request; return its correlation id."""
        correlation_id = f"req_{uuid.uuid4()}"
        is_whole = "input" in body or "prompt" in body
        content = json.dumps(body if is_whole else {"messages": MESSAGES, **body}).encode()
        properties = pika.BasicProperties(
            type="llm.fleet.request",
            reply_to=self.reply_to,
            correlation_id=correlation_id,
            message_id=f"req_{uuid.uuid4()}",
            delivery_mode=2,
            **self._properties,
        )

        def publish(channel: Any) -> None:
            self.record.sent(correlation_id)
            channel.basic_publish("llm.request", self._queue, content, properties, mandatory=True)

        self._with_channel(publish)
        self.asked.append(correlation_id)
        return correlation_id

    def wait(self, number: Optional[int] = None, within: float = 60.0) -> None:
        """Wait until that many requests, or all of them, are answered."""
        wanted = len(self.asked) if number is None else number
        deadline = time.monotonic() + within
        while len(self.answers) < wanted:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(self.answers)} of {wanted} requests answered within {within} s")
            self._with_channel(self._collect)
            time.sleep(0.05)

    def collect_late(self) -> None:
        """Take what has come since, also of a requester that was closed, and close it; nothing if its queue is gone."""
        with contextlib.suppress(pika.exceptions.AMQPError, OSError):
            self._with_channel(self._collect, LATE)
        with contextlib.suppress(pika.exceptions.AMQPError, OSError):
            self.close()

    def collect(self) -> None:
        """Take the answers that are there."""
        self._with_channel(self._collect)

    def only(self) -> tuple[pika.BasicProperties, dict[str, Any]]:
        """The one answer to the one request."""
        answers = [answer for given in self.answers.values() for answer in given]
        assert len(answers) == 1
        return answers[0]

    def remove_replies(self) -> None:
        """Delete the reply queue, with the answers that nobody has taken."""
        self._with_channel(lambda channel: channel.queue_delete(self.reply_to))

    def close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def _collect(self, channel: Any) -> None:
        while True:
            method, properties, body = channel.basic_get(self.reply_to)
            if method is None:
                return
            if not self.record.received(properties, again=method.redelivered):
                channel.basic_ack(method.delivery_tag)
                continue
            self.answers.setdefault(properties.correlation_id, []).append((properties, json.loads(body)))
            channel.basic_ack(method.delivery_tag)

    def _with_channel(self, act: Any, within: float = 90.0) -> None:
        """Run an operation on a channel, and repeat it until the broker is available."""
        deadline = time.monotonic() + within
        while True:
            try:
                if self._connection is None or not self._connection.is_open:
                    self._connection = pika.BlockingConnection(pika.URLParameters(self._broker.amqp_url))
                channel = self._connection.channel()
                channel.confirm_delivery()
                act(channel)
                channel.close()
                return
            except (pika.exceptions.AMQPConnectionError, pika.exceptions.AMQPChannelError, OSError):
                self._connection = None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
