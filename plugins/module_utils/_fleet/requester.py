# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A requester: asks one question at a time over the queues of the fleet, and waits for the answer."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Callable, Optional

from .._ollama.usage import counted
from .arrivals import Arrivals, StreamSummary
from .broker_connection import BrokerConnection
from .dialects.base import Dialect
from .dialects.headers import ATTEMPT, DELTAS
from .errors import BrokerError, FleetTimeoutError, InvalidQuestionError, UnreadableAnswerError
from .messages import Answer, Delta, Message, Question
from .reply_channel import PublishedMessage, ReplyChannel

#: Bytes; LegionIO's transport refuses larger requests before it publishes them, and its workers expect no larger ones.
MAX_REQUEST = 1048576


@dataclass(frozen=True)
class RoundTrip:
    """An answer, with its times and deltas.

    :ivar seconds: from publishing the question to the arrival of the answer.
    :ivar stream: the deltas before the answer, when the question asked for them.
    """

    answer: Answer
    correlation_id: str
    seconds: float
    stream: Optional[StreamSummary] = None


class _PublishedQuestion(PublishedMessage):
    """A published question, with its deltas and its answer."""

    def __init__(self, message_id: Optional[str], dialect: Dialect) -> None:
        super().__init__(message_id)
        self.asked = time.monotonic()
        self.arrivals = Arrivals()
        self._delta_of = dialect.understand_delta
        self.reply: Optional[Message] = None
        self.arrived = 0.0

    def arrive(self, message: Message) -> None:
        """Take a delta or the answer. Messages after the answer are dropped, another answer included."""
        now = time.monotonic()
        try:
            delta = self._delta_of(message) if self._delta_of is not None else None
        except UnreadableAnswerError:
            return  # counts as lost; the answer is complete
        if self.reply is not None:
            return
        if delta is not None:
            self.arrivals.add(delta, now - self.asked)
        else:
            self.reply, self.arrived = message, now

    def summary(self) -> StreamSummary:
        headers = self.reply.headers if self.reply is not None else {}
        attempt = headers.get(ATTEMPT)
        return self.arrivals.summary(attempt if isinstance(attempt, str) else None, counted(headers.get(DELTAS)))


class Requester:
    """Asks questions over one connection. For one thread.

    :param direct: use RabbitMQ's direct reply-to instead of a reply queue (:class:`ReplyChannel`).
    """

    def __init__(self, connection: BrokerConnection, *, direct: bool = False) -> None:
        self._connection = connection
        self._replies = ReplyChannel(connection, direct=direct)

    def ask(
        self,
        question: Question,
        dialect: Dialect,
        *,
        exchange: str,
        routing_key: str,
        seconds: float,
        on_delta: Optional[Callable[[Delta], None]] = None,
    ) -> RoundTrip:
        """Ask, and wait for the answer.

        :param seconds: how long to wait.
        :param on_delta: called in this thread with each piece of the answer, in order, when ``question.stream`` is set.
            A new ``attempt`` starts the answer over, and a gap in ``sequence`` is a lost piece. The returned answer is
            complete. The callback must not wait, because the connection is idle until it returns.
        :raises InvalidQuestionError: if the dialect cannot ask or cannot stream, or the request is too large.
        :raises NoFleetQueueError: if no queue takes the question.
        :raises FleetBackpressureError: if the queue is full.
        :raises FleetPublishTimeoutError: if the broker did not confirm the question.
        :raises FleetTimeoutError: if no answer came.
        :raises FleetAnswerError: if the answer is an error.
        :raises UnreadableAnswerError: if the answer cannot be read.
        :raises BrokerError: if the broker could not be used.
        """
        if dialect.ask is None or dialect.understand is None:
            raise InvalidQuestionError(f"A requester cannot use the dialect {dialect.name!r}")
        if question.stream and dialect.understand_delta is None:
            raise InvalidQuestionError(
                f"The dialect {dialect.name!r} has no streams",
                remedy="Use the dialect typed, or do not ask for a stream",
            )
        self._replies.open()
        correlation_id = f"req_{uuid.uuid4()}"
        message = dialect.ask(question, correlation_id, self._replies.reply_to)
        if len(message.body) > MAX_REQUEST:
            raise InvalidQuestionError(
                f"The request has {len(message.body)} bytes, and {MAX_REQUEST} are allowed",
                remedy="Send less at a time: fewer inputs, smaller images, a shorter conversation",
            )
        asked = _PublishedQuestion(message.properties.message_id, dialect)

        def answered() -> bool:
            # Outside of pika's callbacks: an exception in a callback would interrupt pika's own work.
            for delta in asked.arrivals.take():
                if on_delta is not None:
                    on_delta(delta)
            return asked.reply is not None

        with self._replies.waiting(correlation_id, asked):
            self._replies.publish(message, asked, exchange, routing_key)
            self._connection.wait_until(answered, asked.asked + seconds - time.monotonic())
            if asked.reply is None:
                raise self._no_answer(routing_key, seconds)
        return RoundTrip(
            dialect.understand(asked.reply),
            correlation_id,
            asked.arrived - asked.asked,
            asked.summary() if question.stream else None,
        )

    def _no_answer(self, queue: str, seconds: float) -> Exception:
        if self._connection.gone is not None:
            return self._connection.gone
        about = ""
        state = None
        with suppress(BrokerError):  # RabbitMQ from 4.3 on tells the state only to users that may configure the queue
            state = self._connection.queue_state(queue)
        if state is not None:
            about = f"; its queue has {state.consumers} consumers and {state.messages} requests waiting"
        return FleetTimeoutError(
            f"No answer came within {seconds:g} s from the lane {queue}{about}",
            remedy="Read the log of its workers, or raise the timeout: the first request to a model also loads it",
            routing_key=queue,
            timeout=seconds,
        )
