# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reconnect: when the worker connects to the broker again, and to which address.

All parts with channels hold this object instead of the current connection, so no part keeps a lost connection.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

import socket
import time
from functools import partial
from typing import Any, Callable, Optional

from pika.exceptions import AMQPHeartbeatTimeout

from .._fleet.broker import BrokerSettings, connection_error, parameters
from .._fleet.errors import BrokerError, FleetError, InvalidBrokerError
from .._ollama.retry import RetryPolicy
from .connection import Connection

#: The pauses between two rounds through the addresses: 0.5 to 1 s at first, doubled each time, at most 30 s. They are
#: random, so that the workers of a fleet do not reconnect in step to a restarted broker.
PAUSES = RetryPolicy(base=1.0, cap=30.0)

#: The most seconds of one attempt. pika gives each IP address of a host some seconds.
ATTEMPT = 120.0

#: Seconds of usefulness after which a connection resets the count of failures. Without this limit, a worker would
#: reconnect every second to a broker that closes each connection at its first use.
PROVEN_AFTER = 3.0


class ReconnectingConnection:
    """One connection to the broker, and its successors.

    :param loop: pika's loop, which outlives the connections.
    :param opened: called with each open connection.
    :param lost: called with the reason when an open connection is lost.
    :param failed: called with the reason when all addresses have failed; may close this object to prevent a retry.
    """

    def __init__(
        self,
        loop: Any,
        settings: BrokerSettings,
        *,
        opened: Callable[[Any], None],
        lost: Callable[[BrokerError], None],
        failed: Callable[[FleetError], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._opened = opened
        self._lost = lost
        self._failed = failed
        self._connection: Any = None
        self._connected = False
        self._index = 0
        self._failures = 0
        self._useful_since: Optional[float] = None
        self._reason: Optional[BrokerError] = None
        self._closed: Optional[Callable[[], None]] = None
        self._retry: Any = None

    @property
    def address(self) -> str:
        """The address of the current connection or attempt."""
        return str(self._settings.addresses[self._index])

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection: from ``opened`` until ``lost``."""
        return self._connected

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that is not closing."""
        return self._connected and bool(self._connection.is_open)

    @property
    def parameters(self) -> Any:
        """pika's parameters of the connection."""
        return self._connection.params

    def channel(self, *, on_open_callback: Callable[[Any], None]) -> Any:
        """Open a channel; return pika's object for it."""
        return self._connection.channel(on_open_callback=on_open_callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        """Call back after some seconds, if the connection is still open and the same.

        :return: the timer, for the loop's ``remove_timeout``.
        """
        connection = self._connection

        def call_if_current() -> None:
            if self.is_open and connection is self._connection:
                callback()

        return self._loop.call_later(seconds, call_if_current)

    def start(self) -> None:
        """Connect, and stay connected."""
        self._connect()

    def confirmed_useful(self) -> None:
        """Note that the connection is useful. After ``PROVEN_AFTER`` seconds, the next failure counts as the first."""
        if self._useful_since is None:
            self._useful_since = time.monotonic()

    def give_up(self, reason: BrokerError) -> None:
        """Close a useless connection, and reconnect later."""
        self._reason = reason
        if self._connection is not None and self._connection.is_open:
            self._connection.close(320, "worker reconnects")  # 320 CONNECTION-FORCED, as operators know it

    def close(self, closed: Callable[[], None]) -> None:
        """Close for good."""
        self._closed = closed
        if self._retry is not None:
            self._loop.remove_timeout(self._retry)
            self._retry = None
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
        elif self._connection is None or self._connection.is_closed:
            closed()

    def _connect(self) -> None:
        self._retry = None
        address = self._settings.addresses[self._index]
        try:
            # Each attempt reads the certificates again, because they may have been renewed.
            chosen = parameters(self._settings, address)
            # Without a free file descriptor, pika never calls back, so try to create a socket first.
            socket.socket().close()
        except InvalidBrokerError as error:
            self._next_address(error)
            return
        except OSError as error:
            self._next_address(connection_error(error, self._settings, address))
            return
        connection = self._connection = Connection(
            chosen,
            self._loop,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_open_error,
            on_close_callback=self._on_close,
        )
        self._loop.call_later(ATTEMPT, partial(self._abandon, connection))

    def _abandon(self, connection: Any) -> None:
        """Fail an attempt that has never called back, because an exception has ended it."""
        if connection is self._connection and not connection.is_open and not connection.is_closed:
            self._on_open_error(connection, TimeoutError(f"no connection within {ATTEMPT:g} s"))

    def _on_open(self, connection: Any) -> None:
        if self._closed is not None or connection is not self._connection:
            connection.close()
            return
        self._connected = True
        self._opened(connection)

    def _on_open_error(self, connection: Any, error: BaseException) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        reason = connection_error(error, self._settings, self._settings.addresses[self._index])
        if self._closed is not None:
            self._closed()
            return
        self._next_address(reason)

    def _next_address(self, reason: FleetError) -> None:
        self._index = (self._index + 1) % len(self._settings.addresses)
        self._failures += 1
        if self._failures % len(self._settings.addresses):
            self._later(0.0)  # the next address
            return
        self._failed(reason)
        if self._closed is None:
            self._later(self._delay())

    def _on_close(self, connection: Any, error: BaseException) -> None:
        if connection is not self._connection:
            return
        reason = self._reason or connection_error(error, self._settings, self._settings.addresses[self._index])
        self._reason = None
        self._connected = False
        self._lost(reason)
        if self._closed is not None:
            self._closed()
            return
        if self._useful_since is not None and time.monotonic() - self._useful_since >= PROVEN_AFTER:
            self._failures = 0
        self._useful_since = None
        self._failures += 1
        if isinstance(error, AMQPHeartbeatTimeout):
            # A frozen node accepts connections, but never answers, so try the next address first.
            self._index = (self._index + 1) % len(self._settings.addresses)
        self._later(self._delay())

    def _delay(self) -> float:
        return PAUSES.delay(max(1, self._failures // len(self._settings.addresses)))

    def _later(self, seconds: float) -> None:
        self._retry = self._loop.call_later(seconds, self._connect)
