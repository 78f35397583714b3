# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to the broker: made again for as long as the worker lives, at one address after the other.

Whoever has channels has this object, and not the connection of the moment: so nobody keeps one that is gone.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

import random
import socket
import time
from functools import partial
from typing import Any, Callable, Optional

from pika.exceptions import AMQPHeartbeatTimeout

from .._fleet.broker import BrokerSettings, connection_error, parameters
from .._fleet.errors import BrokerError, FleetError, InvalidBrokerError
from .connection import Connection

#: Seconds between two rounds through the addresses: doubled each time, up to the second. Half of each wait is random,
#: so that a fleet does not come back in step to a broker that has just started.
BACKOFF = 1.0
BACKOFF_CAP = 30.0

#: Seconds of one attempt, at most; pika gives each IP address of a host some seconds.
ATTEMPT = 120.0

#: Seconds that a connection must have been of use for the next failure to be a first one. A broker that ends each
#: connection as soon as it is used must not be asked every second.
PROVEN_AFTER = 3.0


class ReconnectingConnection:
    """One connection, and its successors.

    :param loop: pika's loop, which outlives the connections.
    :param opened: called with each connection that is open.
    :param lost: called with the reason when a connection is gone that had been open.
    :param failed: called with the reason when no address can be used; it is tried again unless this closes the link.
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
        """The address in use, or tried."""
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
        """Call back after so many seconds, if the connection is then still the same, and open.

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
        """The connection does what it is for: if it goes on doing so, the next failure is a first one."""
        if self._useful_since is None:
            self._useful_since = time.monotonic()

    def give_up(self, reason: BrokerError) -> None:
        """Close a connection that is of no use, and try again later."""
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
            # Where pika gets no socket, it calls nobody back, neither now nor later.
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
        """Give up an attempt that never called back: an exception has ended it before."""
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
            # A node that stands still takes connections, and says nothing on them: the next one first.
            self._index = (self._index + 1) % len(self._settings.addresses)
        self._later(self._delay())

    def _delay(self) -> float:
        rounds = max(0, self._failures // len(self._settings.addresses) - 1)
        full = min(BACKOFF_CAP, BACKOFF * 2.0 ** min(rounds, 10))
        return full * (0.5 + 0.5 * random.random())  # noqa: S311 - nothing to guess

    def _later(self, seconds: float) -> None:
        self._retry = self._loop.call_later(seconds, self._connect)
