# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session with the broker: a connection and its successors, and everything that has channels on it.

The order of a session: the connection opens, lanes are declared, the channels open, lanes are consumed. A connection
that is lost takes all of that away; the next one starts over. Everything here runs on the I/O thread.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Optional, Protocol

from .._fleet.broker import BrokerSettings
from .._fleet.errors import BrokerError, FleetError
from ..domain.delivery import Delivery, LaneSettings
from ..logs.log import Log
from .consumers import Consumers
from .control_queue import ControlQueue
from .declaration import Declaration
from .declaration import Done as Declared
from .publisher import ConfirmingPublisher
from .reconnecting import ReconnectingConnection
from .registry_publisher import RegistryPublisher, RegistrySettings

LOG = Log()

#: Seconds until a channel that the broker has closed is opened again.
RETRY_CHANNEL = 1.0


class SessionState(enum.Enum):
    """What can be done over the session."""

    DISCONNECTED = "disconnected"
    #: There is a connection, and its channels are not all open.
    OPENING = "opening"
    #: Requests can be taken, and answered.
    USABLE = "usable"
    #: The session has ended for good.
    CLOSED = "closed"


class SessionEvents(Protocol):
    """What a session tells its owner. Everything is called on the I/O thread."""

    def session_opened(self) -> None:
        """There is a connection: lanes can be declared."""

    def session_changed(self) -> None:
        """The session may have come to another state."""

    def session_failed(self, error: FleetError) -> None:
        """No address of the broker can be used now."""

    def session_lost(self, error: BrokerError) -> None:
        """The connection is gone, and with it every consumer and every delivery."""

    def consumers_lost(self, error: BrokerError) -> None:
        """The broker has closed the channel of the consumers, and has back what was unacknowledged there."""

    def broker_blocked(self, blocked: bool) -> None:
        """The broker takes no messages while it is short of memory or disk."""

    def lane_lost(self, lane: LaneSettings, reason: str, pause: float) -> None:
        """A lane cannot be consumed any more; it is to be tried again after so many seconds."""

    def lane_silent(self, lane: LaneSettings, asked: bool) -> None:
        """The broker does not answer for a lane for now, as when the node that leads its queue stands still.

        :param asked: whether the lane was asked for one request, and not for a consumer.
        """

    def delivered(self, delivery: Delivery) -> None:
        """A consumer has got a request."""

    def got(self, lane: LaneSettings, delivery: Optional[Delivery], more: int) -> None:
        """A lane was asked for a request; ``more`` are left in its queue."""

    def consumer_cancelled(self, lane: LaneSettings, hot: bool) -> None:
        """The broker has confirmed the end of a consumer."""

    def request_cancelled(self, correlation_id: str) -> None:
        """Nobody waits for the answer to a request any more."""


class BrokerSession:
    """Everything that one worker has to do with its broker.

    :param loop: pika's loop, which runs in the I/O thread.
    :param exchanges: each lane is bound to each of them.
    :ivar consumers: takes requests out of lanes.
    :ivar publisher: publishes answers.
    :ivar registry: tells the registry how the lanes are.
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
        """Whether there is a connection, also while it is being closed."""
        return self._link.is_connected

    @property
    def address(self) -> str:
        """The address of the broker that is in use, or tried."""
        return self._link.address

    def start(self) -> None:
        """Connect, and stay connected."""
        self._link.start()

    def close(self, closed: Any) -> None:
        """End for good; the broker has back whatever is not acknowledged. Call back when that is done."""
        self._closed = True
        self._link.close(closed)

    def declare(self, lanes: Sequence[LaneSettings], declared: Declared) -> None:
        """Declare lanes; ``declared`` is called with each queue, and why it is refused."""
        Declaration(self._link, [lane.lane for lane in lanes], self._exchanges, self._settings, declared).start()

    def call_later(self, seconds: float, callback: Any) -> None:
        """Call back after so many seconds, if the connection is then still the same, and open."""
        self._link.call_later(seconds, callback)

    def confirm_useful(self) -> None:
        """The connection does what it is for: if it goes on doing so, the next failure is a first one."""
        self._link.confirmed_useful()

    def is_cancelled(self, delivery: Delivery) -> bool:
        """Whether a request was cancelled while it waited in its lane."""
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
        self._events.session_lost(error)
        self._set_blocked(False)
        self.publisher.connection_lost(error)
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
        """Answers cannot be published, so no request can be answered over this connection."""
        LOG.error("cannot_answer", error=str(error))
        self._link.give_up(error)

    def _consumers_closed(self, error: BrokerError) -> None:
        self._events.consumers_lost(error)
        self._link.call_later(RETRY_CHANNEL, self._open_consumers)

    def _open_consumers(self) -> None:
        if not self._closed:
            self.consumers.open_consumers(self._events.session_changed)
