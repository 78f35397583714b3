# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The open connections of the server: how many there may be, and how long each may wait for its client.

The timeout of a socket starts again with each byte, so a client that sends or takes a byte now and then would keep a
connection for ever. Strangers could take all connections in this way.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any, Optional

#: The most connections from one address that have not sent a signed request yet. An import opens up to 64 for its
#: threads and 16 for its questions at once, and with TLS, each of them takes a while to send a request.
STRANGERS = 128


@dataclass
class _Guest:
    """The client of a connection.

    :ivar ends: when the client must have made the next step.
    """

    stranger: bool = True
    connection: Optional[socket.socket] = None
    ends: float = float("inf")


class Connections:
    """The connections of one server. Several threads use it.

    :param most: the most connections at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._guests: dict[Any, _Guest] = {}  # by the addresses of the clients, with numbers
        self._numbers = itertools.count()

    def enter(self, address: Any) -> Optional[tuple[Any, ...]]:
        """Take a new connection; return the address of the client with a new number, or None if there are too many.

        The number makes the client unique: it may use a port again before the old connection is forgotten.
        """
        with self._lock:
            strangers = sum(guest.stranger and other[0] == address[0] for other, guest in self._guests.items())
            if len(self._guests) >= self._most or strangers >= STRANGERS:
                return None
            client = (*address, next(self._numbers))
            self._guests[client] = _Guest()
            return client

    def leave(self, client: Any) -> None:
        """Forget a connection."""
        with self._lock:
            self._guests.pop(client, None)

    def trust(self, client: Any) -> None:
        """Note that a client has sent a signed request."""
        with self._lock:
            self._guests[client].stranger = False

    def allow(self, client: Any, connection: socket.socket, seconds: float) -> None:
        """Give a client some seconds for the next step."""
        with self._lock:
            guest = self._guests[client]
            guest.connection, guest.ends = connection, time.monotonic() + seconds

    def cut(self) -> None:
        """End the connections of late clients. The thread of such a connection sees the end."""
        now = time.monotonic()
        with self._lock:
            late = [guest.connection for guest in self._guests.values() if guest.ends < now]
        for connection in late:
            if connection is not None:
                with contextlib.suppress(OSError):
                    # The method of SSLSocket would take the TLS session from the thread that is using it.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
