# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server for small local requests, with limits: one thread, few connections, little time, short requests.

The status socket and the metrics use this server. Everybody who may connect can open silent connections. So each
connection has a deadline, and a new connection replaces the oldest one when all places are taken. Silent clients do not
delay a client that sends its request at once.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from contextlib import suppress
from typing import Any, Callable, Optional

from .._ollama.exhaustion import exhausted
from ..logs.log import Log
from ..runtime.supervisor import RoundThread

LOG = Log()

#: The most open connections.
CONNECTIONS = 32
#: The most bytes of a request.
REQUEST_BYTES = 16384
#: The most seconds for a client to send its request, and then to read the answer.
SECONDS = 5.0
#: The seconds without new connections if the process has no file descriptors left, and between two log lines about it.
PAUSE = 1.0
LOG_INTERVAL = 60.0

_PIECE = 65536

#: Errors of accept(2) that the next attempt would meet, too.
_LASTING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class _Client:
    """One connection."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.socket = sock
        self.deadline = deadline
        self.received = b""
        #: The rest of the answer; None while the request is incomplete.
        self.unsent: Optional[memoryview] = None
        self.answered = False


class Listener:
    """Answers the clients of one listening socket.

    :param sock: a bound socket; the listener listens on the socket and closes it.
    :param answer: receives the bytes that a client has sent so far, none in the first call. Returns the answer, after
        which the listener closes the connection, or None while the request is incomplete.
    :param name: the name of the thread.
    :param seconds: the most seconds for a request, and for its answer.
    """

    def __init__(
        self,
        sock: socket.socket,
        answer: Callable[[bytes], Optional[bytes]],
        *,
        name: str,
        connections: int = CONNECTIONS,
        request_bytes: int = REQUEST_BYTES,
        seconds: float = SECONDS,
    ) -> None:
        self._socket = sock
        self._answer = answer
        self._connections = connections
        self._request_bytes = request_bytes
        self._seconds = seconds
        self._name = name
        #: Oldest first.
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()
        self._paused_until: Optional[float] = None
        self._logged_at = -LOG_INTERVAL
        self._wake, self._woken = socket.socketpair()
        self.thread = RoundThread(name, self._wait, self._handle)

    def start(self) -> None:
        """Listen, and answer in a thread.

        :raises OSError: if the socket cannot listen.
        """
        self._socket.listen(128)
        self._socket.setblocking(False)
        self._selector.register(self._socket, selectors.EVENT_READ, None)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self.thread.start()

    def stop(self) -> None:
        """Close the listening socket and end the thread. Open connections end with the process."""
        self.thread.stop()
        with suppress(OSError):
            self._wake.send(b"!")
        self._socket.close()

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self._clients)

    def _wait(self) -> list[Any]:
        return self._selector.select(self._patience())

    def _patience(self) -> Optional[float]:
        """Return the seconds until the next deadline; None without one."""
        times = [client.deadline for client in self._clients.values()]
        if self._paused_until is not None:
            times.append(self._paused_until)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _handle(self, events: list[Any]) -> None:
        now = time.monotonic()
        for late in [client for client in self._clients.values() if client.deadline <= now]:
            self._close(late)
        if self._paused_until is not None and now >= self._paused_until:
            self._paused_until = None
            self._selector.register(self._socket, selectors.EVENT_READ, None)
        for key, _events in events:
            self.thread.progress()
            if key.fileobj is self._socket:
                self._accept()
                continue
            client = self._clients.get(key.fd)
            if client is not None and client is key.data:
                self._serve(client)

    def _accept(self) -> None:
        try:
            connection, _address = self._socket.accept()
        except OSError as error:
            if error.errno in _LASTING:
                self._close_waiting(error)
            return  # otherwise the client has disconnected already
        while len(self._clients) >= self._connections:
            self._close(next(iter(self._clients.values())))
        connection.setblocking(False)
        client = _Client(connection, time.monotonic() + self._seconds)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ, client)
        self._serve(client)

    def _close_waiting(self, error: OSError) -> None:
        """Close every waiting connection, and accept no connections for a moment.

        Otherwise the selector would report the connection that cannot be accepted again and again, at full speed.
        """
        for client in [client for client in self._clients.values() if client.unsent is None or client.answered]:
            self._close(client)
        self._selector.unregister(self._socket)
        now = time.monotonic()
        self._paused_until = now + PAUSE
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            LOG.error("connection_refused", listener=self._name, error=str(exhausted(error) or error))

    def _serve(self, client: _Client) -> None:
        """Read and write as far as possible without waiting."""
        try:
            if client.unsent is None:
                self._read(client)
            if client.answered and not client.socket.recv(_PIECE):
                self._close(client)
            elif client.unsent is not None and not client.answered:
                self._write(client)
        except BlockingIOError:
            return
        except OSError:
            self._close(client)
        except BaseException:
            self._close(client)
            raise

    def _read(self, client: _Client) -> None:
        """Read until the request is complete. At the first call, the client may have sent nothing."""
        answer = self._answer(client.received) if not client.received else None
        while answer is None:
            data = client.socket.recv(_PIECE)
            client.received += data
            if not data or len(client.received) > self._request_bytes:
                raise ConnectionAbortedError("no request, or one that is too long")
            answer = self._answer(client.received)
        client.unsent = memoryview(answer)
        client.deadline = time.monotonic() + self._seconds
        self._selector.modify(client.socket, selectors.EVENT_WRITE, client)

    def _write(self, client: _Client) -> None:
        if client.unsent:
            client.unsent = client.unsent[client.socket.send(client.unsent) :]
        if not client.unsent:
            # The client closes the connection after the end of the answer. If the listener closed first, unread data
            # of the client would reset the connection, and the client could lose the answer.
            client.answered = True
            client.socket.shutdown(socket.SHUT_WR)
            self._selector.modify(client.socket, selectors.EVENT_READ, client)

    def _close(self, client: _Client) -> None:
        if self._clients.pop(client.socket.fileno(), None) is not None:
            self._selector.unregister(client.socket)
        client.socket.close()
