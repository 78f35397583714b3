# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""One connection to the broker, for a caller that waits, such as a module.

pika's asynchronous connection runs in the calling thread until the condition of the caller is true. pika's blocking
connection cannot limit the wait for a confirm.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from .._ollama.errors import MissingDependencyError
from .broker import BrokerSettings, channel_error, connection_error, parameters
from .errors import BrokerError, BrokerUnreachableError
from .pika_messages import TolerantFrames

#: The most seconds for one step of the set-up: a channel, a queue, a consumer.
STEP_TIMEOUT = 15.0

#: Reply codes with which a broker refuses to tell the state of a queue (AMQP 0-9-1, 1.2). They end only the channel.
_NOT_FOUND = 404
_CHANNEL_ERRORS = (403, _NOT_FOUND, 405)


@dataclass(frozen=True)
class QueueState:
    """The state of a queue at the broker: waiting messages, and consumers."""

    messages: int
    consumers: int


class BrokerConnection:
    """A connection to the first broker that accepts one, as a context manager. For one thread.

    :param settings: the addresses are tried in order.
    :ivar gone: the reason why the connection, one of its channels or one of its consumers is lost.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self.gone: Optional[BrokerError] = None
        self._settings = settings
        self._address = settings.addresses[0]
        self._connection: Any = None
        self._loop: Any = None

    def __enter__(self) -> BrokerConnection:
        """Connect.

        :raises BrokerError: if no broker can be used.
        :raises MissingDependencyError: without pika.
        """
        try:
            self._connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def server_properties(self) -> Mapping[str, Any]:
        """The broker's own description: ``product``, ``version``, ``cluster_name`` and whatever else it sends."""
        properties = getattr(self._connection, "server_properties", None)
        return {name: _shown(value) for name, value in (properties or {}).items()}

    def require_open(self) -> None:
        """Check that the connection and its channels are open.

        :raises BrokerError: if one of them is lost.
        """
        if self.gone is not None:
            raise self.gone

    def open_channel(self) -> Any:
        """Open a channel of pika.

        :raises BrokerError: if the broker does not open one.
        """
        opened: list[Any] = []
        channel = self._connection.channel(on_open_callback=self.noticing(opened.append))
        channel.add_on_close_callback(self.noticing(self._channel_closed))
        self.require_step(lambda: bool(opened), "open a channel")
        return channel

    def queue_state(self, queue: str) -> Optional[QueueState]:
        """Read the state of a queue without changing it; None for an unknown queue.

        :raises BrokerError: if the broker refuses to tell the state. The connection is still usable if it has only
            closed the channel.
        """
        found: list[Any] = []
        channel = self.open_channel()
        channel.queue_declare(queue, passive=True, callback=self.noticing(found.append))
        try:
            self.require_step(lambda: bool(found), f"look at the queue {queue}")
        except BrokerError as error:
            code = error.details.get("amqp_code")
            if code in _CHANNEL_ERRORS:
                self.gone = None
            if code == _NOT_FOUND:
                return None
            raise
        channel.close()
        return QueueState(found[0].method.message_count, found[0].method.consumer_count)

    def consume(self, channel: Any, queue: str, arrived: Callable[..., None], consuming: Callable[[Any], None]) -> None:
        """Consume a queue without acknowledgements. If the broker ends the consumer, this connection is ``gone``.

        :param arrived: called with each message, as pika delivers it.
        :param consuming: called when the broker has begun.
        """

        def cancelled(_frame: Any) -> None:
            if self.gone is None:
                self.gone = BrokerError(
                    f"The broker has cancelled the consumer of the queue {queue}",
                    remedy="Read its log: somebody has deleted the queue",
                )

        channel.add_on_cancel_callback(self.noticing(cancelled))
        channel.basic_consume(queue, self.noticing(arrived), auto_ack=True, callback=self.noticing(consuming))

    def close(self) -> None:
        """Close the connection. The broker removes its exclusive queues."""
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
            self.wait_until(lambda: self._connection.is_closed, STEP_TIMEOUT)
        self._connection = None

    # Waiting

    def noticing(self, callback: Callable[..., Any]) -> Callable[..., None]:
        """Return a callback for pika that also ends the wait, so that the caller checks its condition."""

        def noticed(*arguments: Any) -> None:
            callback(*arguments)
            self._loop.stop()

        return noticed

    def wait_until(self, happened: Callable[[], bool], seconds: float) -> None:
        """Let pika work until the condition is true, the connection or a channel is gone, or the time is over."""
        deadline = time.monotonic() + seconds
        while not happened() and self.gone is None and time.monotonic() < deadline:
            alarm = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._loop.stop)
            self._loop.start()
            self._loop.remove_timeout(alarm)

    def require_step(self, happened: Callable[[], bool], what: str) -> None:
        """Wait for one step that the broker has to take.

        :param what: the step, to complete "took longer than ... to".
        :raises BrokerError: if the broker does not take the step in time.
        """
        self.wait_until(happened, STEP_TIMEOUT)
        self.require_open()
        if not happened():
            raise BrokerError(
                f"The broker took longer than {STEP_TIMEOUT:g} s to {what}", remedy="Look at its load and its log"
            )

    # Connecting

    def _connect(self) -> None:
        try:
            from pika import SelectConnection
            from pika.adapters.select_connection import IOLoop
        except ImportError as error:
            raise MissingDependencyError("pika", "talk to the broker") from error

        class TolerantConnection(TolerantFrames, SelectConnection):  # type: ignore[misc]
            """A connection that accepts all properties that a worker may send."""

        self._loop = IOLoop()
        failure: Optional[BrokerError] = None
        for address in self._settings.addresses:
            self._address = address
            cause = self._connect_to(TolerantConnection)
            if cause is None:
                return
            failure = connection_error(cause, self._settings, address)
        raise failure or BrokerUnreachableError("No address of a broker was given")

    def _connect_to(self, adapter: Any) -> Optional[BaseException]:
        failed: list[BaseException] = []

        def opened(connection: Any) -> None:
            self._connection = connection

        adapter(
            parameters(self._settings, self._address),
            on_open_callback=self.noticing(opened),
            on_open_error_callback=self.noticing(lambda _connection, error: failed.append(error)),
            on_close_callback=self.noticing(self._lost),
            custom_ioloop=self._loop,
        )
        # pika limits the connection setup itself (STACK_TIMEOUT), except for the resolution of the name.
        self.wait_until(lambda: self._connection is not None or bool(failed), 2 * STEP_TIMEOUT)
        if self._connection is not None:
            return None
        return failed[0] if failed else TimeoutError("no answer in time")

    def _lost(self, _connection: Any, error: BaseException) -> None:
        if self.gone is None:
            self.gone = connection_error(error, self._settings, self._address)

    def _channel_closed(self, _channel: Any, error: Any) -> None:
        if self.gone is None and type(error).__name__ == "ChannelClosedByBroker":
            self.gone = channel_error(error.reply_code, error.reply_text, self._settings)


def _shown(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
