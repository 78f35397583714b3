# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A requester: publishes a question so that nothing can happen to it unnoticed, and waits for the answer.

The question is published as mandatory and with a confirm, so that the broker says at once when no queue takes it (it
returns it) or when the queue is full (it refuses it). Whoever waits for the answer is registered before the question is
published, because an answer can arrive before the confirm.

The asynchronous connection of pika is used, run in the calling thread until what is waited for has happened: pika's
blocking connection has no way to give up waiting for a confirm.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from .._ollama.errors import MissingDependencyError
from .._ollama.usage import counted
from .arrivals import Arrivals, StreamSummary
from .broadcasts import KEY, NodeReport, Order, order_message, read_report
from .broker import BrokerSettings, channel_error, connection_error, parameters
from .dialects.base import Dialect
from .dialects.headers import ATTEMPT, DELTAS
from .direct_reply import DIRECT_REPLY_TO
from .errors import (
    BrokerError,
    BrokerUnreachableError,
    FleetBackpressureError,
    FleetPublishTimeoutError,
    FleetTimeoutError,
    InvalidQuestionError,
    NoFleetQueueError,
    UnreadableAnswerError,
)
from .messages import Answer, Delta, Message, Question
from .pika_messages import TolerantFrames, from_pika, to_pika

#: Seconds for the broker to confirm a question: a quorum queue writes to the disks of most of its members first.
CONFIRM_TIMEOUT = 10.0

#: Seconds for everything that precedes a question, one step at a time: a channel, a queue, a consumer.
STEP_TIMEOUT = 15.0

#: Seconds between two looks whether a broadcast has been listened to for long enough.
STEP = 0.25

#: Bytes; LegionIO's transport refuses larger requests before it publishes them, and its workers expect no larger ones.
MAX_REQUEST = 1048576


@dataclass(frozen=True)
class RoundTrip:
    """An answer, and how it came about.

    :ivar seconds: from publishing the question to the arrival of the answer.
    :ivar stream: what came before the answer, when deltas were asked for.
    """

    answer: Answer
    correlation_id: str
    seconds: float
    stream: Optional[StreamSummary] = None


@dataclass(frozen=True)
class QueueState:
    """What the broker says of a queue: messages that wait, and consumers."""

    messages: int
    consumers: int


class _Published:
    """What was published, and may be answered."""

    def __init__(self, message_id: Optional[str]) -> None:
        self.message_id = message_id
        self.confirmed: Optional[bool] = None
        self.returned = False

    def arrive(self, message: Message) -> None:
        """Take an answer."""
        raise NotImplementedError


class _Broadcast(_Published):
    """A broadcast that is under way."""

    def __init__(self, message_id: Optional[str]) -> None:
        super().__init__(message_id)
        self.reports: deque[NodeReport] = deque()

    def arrive(self, message: Message) -> None:
        report = read_report(message)
        if report is not None:
            self.reports.append(report)


class _Pending(_Published):
    """A question that is under way."""

    def __init__(self, message_id: Optional[str], dialect: Dialect) -> None:
        super().__init__(message_id)
        self.asked = time.monotonic()
        self.arrivals = Arrivals()
        self._delta_of = dialect.understand_delta
        self.reply: Optional[Message] = None
        self.arrived = 0.0

    def arrive(self, message: Message) -> None:
        """Take a delta or the answer. What comes after the answer is dropped, another answer included."""
        now = time.monotonic()
        try:
            delta = self._delta_of(message) if self._delta_of is not None else None
        except UnreadableAnswerError:
            return  # it counts as lost; the answer has everything
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
    """A connection to the broker that questions are asked over, as a context manager. For one thread.

    :param settings: the addresses are tried in order.
    :param direct: use RabbitMQ's direct reply-to instead of a reply queue of its own. It takes no right to declare
        queues, and workers older than this collection's cannot answer to it.
    :raises BrokerError: on entry, when the broker cannot be used.
    :raises MissingDependencyError: on entry, without pika.
    """

    def __init__(self, settings: BrokerSettings, *, direct: bool = False) -> None:
        self._settings = settings
        self._address = settings.addresses[0]
        self._direct = direct
        self._reply_queue = DIRECT_REPLY_TO if direct else f"llm.fleet.reply.{uuid.uuid4().hex[:16]}"
        self._connection: Any = None
        self._loop: Any = None
        self._channel: Any = None
        self._gone: Optional[BrokerError] = None
        self._published = 0
        self._by_tag: dict[int, _Published] = {}
        self._by_correlation_id: dict[str, _Published] = {}

    def __enter__(self) -> Requester:
        try:
            self._connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

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
            A new ``attempt`` starts the answer over, and a jump in ``sequence`` is a piece that was lost; the answer
            that is returned has everything. The connection stands still meanwhile: do not wait in it.
        :raises InvalidRequestError: when the dialect cannot be asked in, or has no deltas and they are asked for.
        :raises NoFleetQueueError: when no queue takes the question.
        :raises FleetBackpressureError: when the queue is full.
        :raises FleetPublishTimeoutError: when the broker did not say whether it has it.
        :raises FleetTimeoutError: when no answer came.
        :raises FleetAnswerError: when the answer is an error.
        :raises BrokerError: when the broker could not be used.
        """
        if dialect.ask is None or dialect.understand is None:
            raise InvalidQuestionError(f"Nobody can ask in the dialect {dialect.name!r}")
        if question.stream and dialect.understand_delta is None:
            raise InvalidQuestionError(
                f"The dialect {dialect.name!r} has no streams",
                remedy="Use the dialect typed, or do not ask for a stream",
            )
        if self._gone is not None:
            raise self._gone
        self._open_reply_queue()
        correlation_id = f"req_{uuid.uuid4()}"
        message = dialect.ask(question, correlation_id, self._reply_queue)
        if len(message.body) > MAX_REQUEST:
            raise InvalidQuestionError(
                f"The request has {len(message.body)} bytes, and {MAX_REQUEST} are allowed",
                remedy="Send less at a time: fewer inputs, smaller images, a shorter conversation",
            )
        pending = _Pending(message.properties.message_id, dialect)
        self._by_correlation_id[correlation_id] = pending

        def answered() -> bool:
            # Not from within a callback of pika, which an exception would leave half done.
            for delta in pending.arrivals.take():
                if on_delta is not None:
                    on_delta(delta)
            return pending.reply is not None

        try:
            self._publish(message, pending, exchange, routing_key)
            self._until(answered, pending.asked + seconds - time.monotonic())
            if pending.reply is None:
                raise self._no_answer(routing_key, seconds)
        finally:
            del self._by_correlation_id[correlation_id]
        return RoundTrip(
            dialect.understand(pending.reply),
            correlation_id,
            pending.arrived - pending.asked,
            pending.summary() if question.stream else None,
        )

    def queue_state(self, queue: str) -> Optional[QueueState]:
        """Look at a queue without touching it; None when there is none of that name.

        :raises BrokerError: when the broker does not let us look.
        """
        found: list[Any] = []
        channel = self._open_channel()
        channel.queue_declare(queue, passive=True, callback=self._noticing(found.append))
        try:
            self._step(lambda: bool(found), f"look at the queue {queue}")
        except BrokerError as error:
            if error.details.get("amqp_code") == 404:
                self._gone = None  # only this channel is gone
                return None
            raise
        channel.close()
        return QueueState(found[0].method.message_count, found[0].method.consumer_count)

    def broadcast(
        self,
        order: Order,
        *,
        exchange: str,
        seconds: float,
        heard: Callable[[NodeReport], None],
        enough: Callable[[], bool],
    ) -> str:
        """Tell every node something, and hear what they report; return the correlation id.

        :param seconds: how long to listen, at most.
        :param heard: called in this thread with each report.
        :param enough: asked again and again whether that is all.
        :raises NoFleetQueueError: when no node listens.
        :raises BrokerError: when the broker could not be used.
        """
        if self._gone is not None:
            raise self._gone
        self._open_reply_queue()
        correlation_id = f"bcast_{uuid.uuid4()}"
        message = order_message(order, correlation_id, self._reply_queue, seconds)
        pending = _Broadcast(message.properties.message_id)
        self._by_correlation_id[correlation_id] = pending

        def over() -> bool:
            while pending.reports:
                heard(pending.reports.popleft())
            return enough()

        try:
            self._publish(message, pending, exchange, KEY + order.function)
            deadline = time.monotonic() + seconds
            while not over() and self._gone is None and time.monotonic() < deadline:
                # In steps, because what is enough may be a matter of time.
                self._until(over, min(STEP, deadline - time.monotonic()))
            if self._gone is not None:
                raise self._gone
        except NoFleetQueueError as error:
            error.remedy = "Check the exchange, and that the updates run on the nodes (fleet-worker updates)"
            raise
        finally:
            del self._by_correlation_id[correlation_id]
        return correlation_id

    def listen(self, exchange: str, binding_key: str, seconds: float, take: Callable[[Message], None]) -> None:
        """Read what is published to a topic exchange for some time.

        :param take: called in this thread with each message.
        :raises ExchangeMissingError: when there is no such exchange.
        :raises BrokerForbiddenError: without the right to read from it, or to have a queue ``llm.fleet.reply.*``.
        """
        queue = f"llm.fleet.reply.{uuid.uuid4().hex[:16]}"
        done: list[Any] = []
        heard: deque[Message] = deque()
        channel = self._open_channel()
        noticed = self._noticing(done.append)
        channel.queue_declare(queue, exclusive=True, auto_delete=True, callback=noticed)
        channel.queue_bind(queue, exchange, binding_key, callback=noticed)

        def arrived(_channel: Any, _method: Any, properties: Any, body: bytes) -> None:
            heard.append(from_pika(properties, body))

        channel.basic_consume(queue, self._noticing(arrived), auto_ack=True, callback=noticed)
        self._step(lambda: len(done) == 3, f"listen to the exchange {exchange}")

        def never() -> bool:
            while heard:
                take(heard.popleft())
            return False

        self._until(never, seconds)
        if self._gone is not None:
            raise self._gone
        channel.close()

    @property
    def broker(self) -> Mapping[str, Any]:
        """What the broker says of itself: ``product``, ``version``, ``cluster_name`` and more, as it likes."""
        properties = getattr(self._connection, "server_properties", None)
        return {name: _shown(value) for name, value in (properties or {}).items()}

    def close(self) -> None:
        """Close the connection; the broker removes the reply queue."""
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
            self._until(lambda: self._connection.is_closed, STEP_TIMEOUT)
        self._connection = None

    # Connecting.

    def _connect(self) -> None:
        try:
            from pika import SelectConnection
            from pika.adapters.select_connection import IOLoop
        except ImportError as error:
            raise MissingDependencyError("pika", "talk to the broker") from error

        class Connection(TolerantFrames, SelectConnection):  # type: ignore[misc]
            """Reads whatever a worker writes into the properties of its answers."""

        self._loop = IOLoop()
        failure: Optional[BrokerError] = None
        for address in self._settings.addresses:
            self._address = address
            cause = self._connect_to(Connection)
            if cause is None:
                self._channel = self._open_channel()
                return
            failure = connection_error(cause, self._settings, address)
        raise failure or BrokerUnreachableError("No address of a broker was given")

    def _connect_to(self, adapter: Any) -> Optional[BaseException]:
        failed: list[BaseException] = []

        def opened(connection: Any) -> None:
            self._connection = connection

        adapter(
            parameters(self._settings, self._address),
            on_open_callback=self._noticing(opened),
            on_open_error_callback=self._noticing(lambda _connection, error: failed.append(error)),
            on_close_callback=self._noticing(self._lost),
            custom_ioloop=self._loop,
        )
        # pika has a limit of its own for all of it (STACK_TIMEOUT), except for a name that is not resolved.
        self._until(lambda: self._connection is not None or bool(failed), 2 * STEP_TIMEOUT)
        if self._connection is not None:
            return None
        return failed[0] if failed else TimeoutError("no answer in time")

    def _open_channel(self) -> Any:
        opened: list[Any] = []
        channel = self._connection.channel(on_open_callback=self._noticing(opened.append))
        channel.add_on_close_callback(self._noticing(self._channel_closed))
        self._step(lambda: bool(opened), "open a channel")
        return channel

    def _open_reply_queue(self) -> None:
        if self._channel.consumer_tags:
            return
        done: list[Any] = []
        self._channel.add_on_return_callback(self._noticing(self._returned))
        self._channel.confirm_delivery(self._noticing(self._confirmed), callback=self._noticing(done.append))
        self._step(lambda: len(done) == 1, "turn publisher confirms on")
        if not self._direct:
            # Exclusive, unlike LegionIO's: it goes with the connection whatever happens to us, and RabbitMQ 4.3 denies
            # queues that are neither durable nor exclusive.
            self._channel.queue_declare(
                self._reply_queue, exclusive=True, auto_delete=True, callback=self._noticing(done.append)
            )
            self._step(lambda: len(done) == 2, f"declare the reply queue {self._reply_queue}")
        consuming: list[Any] = []
        self._channel.basic_consume(
            self._reply_queue, self._noticing(self._arrived), auto_ack=True, callback=self._noticing(consuming.append)
        )
        self._step(lambda: bool(consuming), f"consume the reply queue {self._reply_queue}")

    # Publishing.

    def _publish(self, message: Message, pending: _Published, exchange: str, routing_key: str) -> None:
        self._published += 1
        self._by_tag[self._published] = pending
        self._channel.basic_publish(exchange, routing_key, message.body, to_pika(message), mandatory=True)
        self._until(lambda: pending.confirmed is not None, CONFIRM_TIMEOUT)
        if self._gone is not None:
            raise self._gone
        where = f"the exchange {exchange!r} with the key {routing_key!r}"
        if pending.returned:
            raise NoFleetQueueError(
                f"No queue takes a request to {where}",
                remedy="Check the model, the style of the lane and the exchange, and that a worker for it is running",
                exchange=exchange,
                routing_key=routing_key,
            )
        if pending.confirmed is None:
            raise FleetPublishTimeoutError(
                f"The broker did not confirm a request to {where} within {CONFIRM_TIMEOUT:g} s",
                remedy="Check whether it has an alarm (rabbitmq-diagnostics check_alarms), and whether most members of"
                " the queue are up",
                exchange=exchange,
                routing_key=routing_key,
            )
        if not pending.confirmed:
            raise FleetBackpressureError(
                f"The queue behind {where} refuses the request: it is full",
                remedy="Try again later, or add workers for this model",
                exchange=exchange,
                routing_key=routing_key,
            )

    def _confirmed(self, frame: Any) -> None:
        positive = type(frame.method).__name__ == "Ack"
        tag = frame.method.delivery_tag
        for number in [known for known in self._by_tag if known == tag or (frame.method.multiple and known < tag)]:
            self._by_tag.pop(number).confirmed = positive

    def _returned(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        for pending in self._by_correlation_id.values():
            if pending.message_id == properties.message_id:
                pending.returned = True

    def _arrived(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        message = from_pika(properties, body)
        # As LegionIO's readers do; an answer that nobody waits for any more is dropped.
        pending = self._by_correlation_id.get(message.properties.correlation_id or "")
        if pending is not None:
            pending.arrive(message)

    def _no_answer(self, queue: str, seconds: float) -> Exception:
        if self._gone is not None:
            return self._gone
        state = self.queue_state(queue)
        about = ""
        if state is not None:
            about = f"; its queue has {state.consumers} consumers and {state.messages} requests waiting"
        return FleetTimeoutError(
            f"No answer came within {seconds:g} s from the lane {queue}{about}",
            remedy="Look at the log of its workers, or wait longer: the first request to a model loads it",
            routing_key=queue,
            timeout=seconds,
        )

    # Waiting.

    def _noticing(self, callback: Callable[..., Any]) -> Callable[..., None]:
        """Have a callback of pika end the wait, so that what is waited for is looked at."""

        def noticed(*arguments: Any) -> None:
            callback(*arguments)
            self._loop.stop()

        return noticed

    def _until(self, happened: Callable[[], bool], seconds: float) -> None:
        """Let pika work until something has happened, the connection or the channel is gone, or the time is over."""
        deadline = time.monotonic() + seconds
        while not happened() and self._gone is None and time.monotonic() < deadline:
            alarm = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._loop.stop)
            self._loop.start()
            self._loop.remove_timeout(alarm)

    def _step(self, happened: Callable[[], bool], what: str) -> None:
        self._until(happened, STEP_TIMEOUT)
        if self._gone is not None:
            raise self._gone
        if not happened():
            raise BrokerError(
                f"The broker took longer than {STEP_TIMEOUT:g} s to {what}", remedy="Look at its load and its log"
            )

    def _lost(self, _connection: Any, error: BaseException) -> None:
        if self._gone is None:
            self._gone = connection_error(error, self._settings, self._address)

    def _channel_closed(self, _channel: Any, error: Any) -> None:
        if self._gone is None and type(error).__name__ == "ChannelClosedByBroker":
            self._gone = channel_error(error.reply_code, error.reply_text, self._settings)


def _shown(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
