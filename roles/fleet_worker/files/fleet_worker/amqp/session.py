# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session with the broker: the connection and its successors, and all parts with channels.

A session opens a connection, declares lanes, opens channels and consumes lanes, in this order. After a lost connection
it starts again. Everything here runs on the I/O thread.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Optional, Protocol

from .._fleet.broker import BrokerSettings
from .._fleet.errors import BrokerError, FleetError
from ..domain.delivery import Delivery, LaneSettings
from ..logs.log import Log
from .broken_lanes import Rest
from .consumers import Consumers
from .control_queue import ControlQueue
from .declaration import Declaration
from .declaration import Done as Declared
from .publisher import ConfirmingPublisher
from .reconnecting import ReconnectingConnection
from .registry_publisher import RegistryPublisher, RegistrySettings

LOG = Log()

#: Seconds until the worker opens another channel after the broker has closed one.
RETRY_CHANNEL = 1.0


class SessionState(enum.Enum):
    """The usability of the session."""

    DISCONNECTED = "disconnected"
    #: The connection is open, but not all of its channels.
    OPENING = "opening"
    #: The worker can take and answer requests.
    USABLE = "usable"
    #: The session has ended for good.
    CLOSED = "closed"


class SessionEvents(Protocol):
    """The events of a session. The session calls all methods on the I/O thread."""

    def session_opened(self) -> None:
        """The connection is open, so lanes can be declared."""

    def session_changed(self) -> None:
        """The state of the session may have changed."""

    def session_failed(self, error: FleetError) -> None:
        """All addresses of the broker have failed."""

    def session_lost(self, error: BrokerError) -> None:
        """The connection is lost, with all consumers and deliveries."""

    def consumers_lost(self, error: BrokerError) -> None:
        """The broker has closed the channel of the consumers, and has requeued its unacknowledged requests."""

    def broker_blocked(self, blocked: bool) -> None:
        """The broker blocks messages because of a memory or disk alarm, or has ended the block."""

    def lane_lost(self, lane: LaneSettings, reason: str, pause: float) -> None:
        """A lane cannot be consumed any more. The worker should try again after a pause in seconds."""

    def lane_silent(self, lane: LaneSettings, asked: bool) -> None:
        """The broker does not answer for a lane, for example because the node with the queue's leader is frozen.

        :param asked: whether the worker waits for a get instead of a consumer.
        """

    def delivered(self, delivery: Delivery) -> None:
        """A consumer has received a request."""

    def got(self, lane: LaneSettings, delivery: Optional[Delivery], more: int) -> None:
        """A get was answered, with a request or ``None``; ``more`` requests are left in the queue."""

    def consumer_cancelled(self, queue: str, hot: bool) -> None:
        """A cancelled consumer of a lane brings no more requests."""

    def request_cancelled(self, correlation_id: str) -> None:
        """A requester has cancelled a request."""


class BrokerSession:
    """The session of one worker.

    :param loop: pika's loop, which runs in the I/O thread.
    :param exchanges: the exchanges that each lane is bound to.
    :ivar consumers: takes requests from lanes.
    :ivar publisher: publishes answers.
    :ivar registry: announces the lanes.
    :ivar blocked: whether the broker has an alarm.
    """

    def __init__(
        self,
        loop: Any,
        settings: BrokerSettings,
        exchanges: Sequence[str],
        registry: RegistrySettings,
        events: SessionEvents,
    ) -> None:
        self._settings = settings
        self._exchanges = exchanges
        self._events = events
        self._link = link = ReconnectingConnection(
            loop, settings, opened=self._connection_opened, lost=self._connection_lost, failed=events.session_failed
        )
        self.publisher = ConfirmingPublisher(loop, link, settings, forbidden=self._cannot_publish)
        self.consumers = Consumers(
            link,
            settings,
            delivered=events.delivered,
            got=events.got,
            cancelled=events.consumer_cancelled,
            lane_lost=events.lane_lost,
            silent=events.lane_silent,
            closed=self._consumers_closed,
        )
        self.registry = RegistryPublisher(loop, link, settings, registry)
        self._control = ControlQueue(link, settings, registry.node, events.request_cancelled)
        self.blocked = False
        self._publisher_is_open = False
        self._closed = False

    @property
    def state(self) -> SessionState:
        if self._closed:
            return SessionState.CLOSED
        if not self._link.is_connected:
            return SessionState.DISCONNECTED
        return SessionState.USABLE if self._publisher_is_open and self.consumers.is_open else SessionState.OPENING

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, also while it closes."""
        return self._link.is_connected

    @property
    def address(self) -> str:
        """The address of the current connection or attempt."""
        return self._link.address

    def start(self) -> None:
        """Connect, and stay connected."""
        self._link.start()

    def close(self, closed: Any) -> None:
        """Close the session for good, and call back. The broker requeues all unacknowledged requests."""
        self._closed = True
        self._link.close(closed)

    def declare(self, lanes: Sequence[LaneSettings], declared: Declared) -> None:
        """Declare lanes; call ``declared`` with the result of each queue."""
        Declaration(self._link, [lane.lane for lane in lanes], self._exchanges, self._settings, declared).start()

    def rest(self, queue: str) -> Optional[Rest]:
        """Return the pause of a lane for which the broker has ended connections; None for other lanes."""
        return self.consumers.broken.rest(queue)

    def call_later(self, seconds: float, callback: Any) -> None:
        """Call back after some seconds, if the connection is still open and the same."""
        self._link.call_later(seconds, callback)

    def confirm_useful(self) -> None:
        """Note that the connection is useful, so that failures are counted from zero again."""
        self._link.confirmed_useful()

    def is_cancelled(self, delivery: Delivery) -> bool:
        """Return whether a request was cancelled while it waited in its lane."""
        return self._control.is_cancelled(delivery.message.properties.correlation_id)

    # Connection

    def _connection_opened(self, connection: Any) -> None:
        LOG.info("connected", broker=self._link.address)
        connection.add_on_connection_blocked_callback(lambda _connection, _frame: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda _connection, _frame: self._set_blocked(False))
        self._events.session_opened()
        self.publisher.open(self._publisher_opened)
        self.consumers.open(self._events.session_changed)
        self.registry.open(self._events.session_changed)
        self._control.open()

    def _connection_lost(self, error: BrokerError) -> None:
        self._publisher_is_open = False
        # First, because the events say which lanes rest.
        explained = self.consumers.connection_lost(error)
        self._events.session_lost(error)
        self._set_blocked(False)
        self.publisher.connection_lost(error, explained=explained)
        self.registry.connection_lost()
        if not self._closed:
            self._events.session_changed()

    def _set_blocked(self, blocked: bool) -> None:
        if blocked != self.blocked:
            LOG.warning("broker_blocked" if blocked else "broker_unblocked")
        self.blocked = blocked
        self.registry.block(blocked)
        self.publisher.block(blocked)
        self._events.broker_blocked(blocked)

    # Channels

    def _publisher_opened(self) -> None:
        self._publisher_is_open = True
        self._events.session_changed()

    def _cannot_publish(self, error: BrokerError) -> None:
        """Give the connection up, because no request can be answered over it."""
        LOG.error("cannot_answer", error=str(error))
        self._link.give_up(error)

    def _consumers_closed(self, error: BrokerError) -> None:
        self._events.consumers_lost(error)
        self._link.call_later(RETRY_CHANNEL, self._open_consumers)

    def _open_consumers(self) -> None:
        if not self._closed:
            self.consumers.open_consumers(self._events.session_changed)
