# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The blocking driver of the response parser, for requests without a body.

The parser reads only the head. A body of known length is received straight into the caller's buffer, by as few system
calls as possible, because each call costs time. A response of unknown length is refused; the caller can repeat the
request with another client.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Optional

from .errors import HttpError
from .response_head import HeadParser, HttpHead

if TYPE_CHECKING:
    from ssl import SSLContext

#: Bytes to receive at a time while the head is not complete. S3 servers send heads of 300 to 1,000 bytes.
_HEAD = 4096

#: The least and the most bytes that one call waits for, and the seconds that a call should take at most. A fast
#: connection then needs few calls, and on a slow one the caller can report progress or stop in time.
_LEAST = 16 * 1024
_MOST = 2 * 1024 * 1024
_PATIENCE = 0.2


class WireError(OSError):
    """No response arrived, or this driver does not support the response."""


class IdleLimit:
    """A limit to the idle connections of several endpoints. Several threads may use it at the same time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        #: Those that have been idle, the one that was used last at the end. Some may be in use again, or closed.
        self._connections: dict[_Connection, Endpoint] = {}

    def note(self, endpoint: Endpoint, connection: _Connection) -> None:
        """Note an idle connection; of too many, close the one that was not used for longest."""
        with self._lock:
            self._connections.pop(connection, None)
            self._connections[connection] = endpoint
            if len(self._connections) <= self._most:
                return
            oldest = next(iter(self._connections))
            holder = self._connections.pop(oldest)
        holder.drop(oldest)


class Endpoint:
    """A server and the open connections to it. Several threads may use it at the same time.

    :param connect_timeout: in seconds.
    :param silence: seconds that a connection may be silent, and seconds for a head that has begun to arrive. Without
        the second limit, a server that sends a byte now and then would hold the caller for days.
    :param tls: the TLS settings; None for plain HTTP.
    :param limit: a limit that this endpoint shares with others.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        connect_timeout: float,
        silence: float,
        tls: Optional[SSLContext] = None,
        limit: Optional[IdleLimit] = None,
    ) -> None:
        self._place = (host, port)
        self._connect_timeout = connect_timeout
        self._silence = silence
        self._tls = tls
        self._limit = limit
        self._idle: deque[_Connection] = deque()  # threads may append and pop at once (collections.deque)
        self._process = os.getpid()

    def ask(self, method: str, target: str, headers: Mapping[str, str]) -> BlockingResponse:
        """Send a request, and return the response when its head has arrived.

        :param target: path and query, quoted.
        :raises OSError: when there is no response, or its length is unknown.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if lines.count("\n") != len(headers) or not lines.isascii():
            raise WireError(errno.EINVAL, "a header has a line break, or a character outside ASCII")
        request = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("ascii")
        while True:
            connection = self._reusable()
            fresh = connection is None
            connection = connection or self._connect()
            try:
                connection.socket.sendall(request)
                return BlockingResponse(self, connection, connection.head(self._silence, bodiless=method == "HEAD"))
            except OSError as error:
                connection.close()
                # Before Python 3.10, the timeout of a socket is no TimeoutError.
                if isinstance(error, (TimeoutError, socket.timeout)):
                    # The other idle connections are probably silent, too. Each of them would cost the same time.
                    self.close_idle()
                    raise
                if fresh:
                    raise
                # The server may close an idle connection at any time.
            except BaseException:
                connection.close()
                raise

    def close_idle(self) -> None:
        """Close the connections that no request uses."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def drop(self, connection: _Connection) -> None:
        """Close a connection, unless a request is using it."""
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
            connection.close()

    def _reusable(self) -> Optional[_Connection]:
        """Return an idle open connection, or None."""
        if self._process != os.getpid():
            # After a fork, two processes on one connection would get each other's responses.
            self._idle, self._process = deque(), os.getpid()
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.silent():
                return connection
            connection.close()

    def _connect(self) -> _Connection:
        made = socket.create_connection(self._place, self._connect_timeout)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                made = self._tls.wrap_socket(made, server_hostname=self._place[0])
                made.settimeout(self._silence)
                return _Connection(made, patient=False)
            # The system's own timeout, because a timeout of Python makes the socket non-blocking: each call would first
            # poll, and one call could not wait for many bytes.
            made.settimeout(None)
            timeout = struct.pack("@ll", int(self._silence), 0)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            return _Connection(made, patient=True)
        except BaseException:
            made.close()
            raise

    def take_back(self, connection: _Connection) -> None:
        """Keep a connection whose response was read to its end."""
        self._idle.append(connection)
        if self._limit is not None:
            self._limit.note(self, connection)


class BlockingResponse:
    """One response. Its body is read once, in order.

    :ivar headers: looked up without regard to case.
    :ivar length: bytes of the body; of a response to ``HEAD``, the announced bytes.
    """

    def __init__(self, endpoint: Endpoint, connection: _Connection, head: HttpHead) -> None:
        """:raises WireError: when the length of the response is unknown."""
        if head.body_length is None or (head.length is None and head.status != 204):
            raise WireError(errno.EPROTO, "the answer has no known length")
        self.status = head.status
        self.length = head.length or 0
        self.headers: Mapping[str, str] = head.fields
        self._endpoint = endpoint
        self._connection = connection
        self._keeps_open = head.keeps_open
        self._left = head.body_length

    def readinto(self, view: memoryview) -> int:
        """Receive bytes, and return their number; 0 at the end of the body, or if the server ends it early."""
        if not self._left:
            return 0
        count = self._connection.readinto(view[: self._left])
        self._left -= count
        return count

    def read(self, limit: int, seconds: Optional[float] = None) -> bytes:
        """Return at most ``limit`` bytes of the body.

        :param seconds: the time for all of them together; ``None`` for no limit but that of silence.
        :raises OSError: when the body ends early, or takes too long.
        """
        content = bytearray(min(limit, self._left))
        view, got = memoryview(content), 0
        ends = time.monotonic() + seconds if seconds is not None else float("inf")
        while got < len(content):
            if time.monotonic() > ends:
                raise TimeoutError(errno.ETIMEDOUT, "the answer takes too long")
            count = self.readinto(view[got:])
            if not count:
                raise WireError(errno.ECONNRESET, "the answer ended early")
            got += count
        return bytes(content)

    def close(self) -> None:
        """Release the connection: keep it if the body was read and the server allows it, else close it."""
        if self._keeps_open and not self._left and not self._connection.said_more:
            self._endpoint.take_back(self._connection)
        else:
            self._connection.close()


class _Connection:
    """An open connection.

    :param patient: whether one system call can wait for all wanted bytes.
    """

    def __init__(self, opened: socket.socket, *, patient: bool) -> None:
        self.socket = opened
        self._patient = patient
        self._wanted = 16 * _LEAST  # bytes that one call waits for
        self._rest = memoryview(b"")  # bytes of the body that were received with the head

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()

    def silent(self) -> bool:
        """Return whether neither bytes nor the end of the connection have arrived since the last response.

        Such bytes would be read as the next response. Some proxies send a response with status 408 before they close
        an idle connection.
        """
        waiting = select.poll()
        waiting.register(self.socket, select.POLLIN)
        return not waiting.poll(0)

    @property
    def said_more(self) -> bool:
        """Whether there are unread bytes. After the end of a response they are unexpected."""
        return bool(self._rest)

    def head(self, seconds: float, *, bodiless: bool) -> HttpHead:
        """Receive the head of a response.

        :param seconds: the time after which an incomplete head is given up.
        :param bodiless: whether the method of the request was ``HEAD``.
        :raises OSError: when there is no response, or it is not an HTTP/1 response.
        """
        parser = HeadParser(bodiless=bodiless)
        ends = time.monotonic() + seconds
        while True:
            try:
                received = self.socket.recv(_HEAD)
            except BlockingIOError as error:
                raise _silent() from error
            if not received:
                raise WireError(errno.ECONNRESET, "the server closed the connection")
            try:
                head = parser.feed(received)
            except HttpError as error:
                raise WireError(errno.EPROTO, f"the answer is not valid HTTP/1: {error}") from error
            if head is not None:
                self._rest = memoryview(parser.rest)
                return head
            # A check after each receipt costs no system call. One receipt waits for at most the time of silence.
            if time.monotonic() > ends:
                raise TimeoutError(errno.ETIMEDOUT, "the head of the answer takes too long")

    def readinto(self, view: memoryview) -> int:
        if self._rest:
            count = min(len(view), len(self._rest))
            view[:count] = self._rest[:count]
            self._rest = self._rest[count:]
            return count
        if not self._patient:
            return self.socket.recv_into(view)
        start = time.monotonic()
        try:
            count = self.socket.recv_into(view[: self._wanted], 0, socket.MSG_WAITALL)
        except BlockingIOError as error:
            raise _silent() from error
        seconds = time.monotonic() - start
        if seconds > _PATIENCE:
            self._wanted = max(_LEAST, self._wanted // 2)
        elif seconds < _PATIENCE / 4 and count == self._wanted:
            self._wanted = min(_MOST, self._wanted * 2)
        return count


def _silent() -> TimeoutError:
    return TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
