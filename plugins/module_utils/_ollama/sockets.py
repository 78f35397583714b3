# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Connections that a call owns while it uses them, so that the call can be cancelled.

urllib3 hides its sockets, and nothing can interrupt it while it connects. The classes here intervene twice: when a
connection is opened or reused, the call attaches to the socket; before the connection returns to the pool, the call
detaches. They work with urllib3 1.26 and 2.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

try:
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
except ImportError:  # the constructor of a transport reports it
    HTTPConnection = HTTPSConnection = HTTPConnectionPool = HTTPSConnectionPool = object  # type: ignore[assignment, misc]

from .api_errors import ServerUnreachableError
from .calls import Call
from .strict_responses import StrictResponse

#: The largest body, in bytes, that is sent together with the head of its request.
_SMALL = 65536

# An unstreamed request is silent until the answer is complete, for many minutes on a slow machine. Keep-alive probes
# detect a dead server, and refresh the firewall's entry (often dropped after 5 minutes).
_KEEPALIVE_OPTIONS = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))


class _Current(threading.local):
    call: Optional[Call] = None


_current = _Current()


@contextmanager
def on_behalf_of(call: Call) -> Iterator[None]:
    """Let a call own the connections that this thread opens or reuses inside the context."""
    _current.call = call
    try:
        yield
    finally:
        _current.call = None


def open_socket(host: str, port: int, call: Call) -> socket.socket:
    """Connect to the first address of the host that accepts, within the connect timeout of the call.

    :raises ServerUnreachableError: if no address accepts.
    :raises OllamaError: if the call is cancelled or its deadline passes.
    """
    try:
        addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "it is not a host name"
        raise ServerUnreachableError(
            f"The host name {host!r} cannot be resolved: {reason}",
            remedy="Correct the address of the server, or the DNS settings of this machine",
            host=host,
        ) from error
    timeout = call.connect_timeout
    deadline = None if timeout is None else time.monotonic() + timeout
    reasons = []
    failure: Optional[OSError] = None
    for index, (family, kind, protocol, _name, address) in enumerate(addresses):
        # Share the time between the addresses: one that drops packets would use all of it.
        share = None if deadline is None else max(0.0, deadline - time.monotonic()) / (len(addresses) - index)
        try:
            return _connect(new_socket(family, kind, protocol), address, share, call)
        except OSError as error:
            failure = error
            reasons.append(f"{address[0]}: {error.strerror or error}")
    raise ServerUnreachableError(
        f"No connection to {host} port {port} ({'; '.join(reasons)})",
        remedy="Check that the server runs and listens on this port, and that no firewall blocks it",
        host=host,
        port=port,
    ) from failure


def new_socket(family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
    """Return a non-blocking, unconnected socket for a connection to a server."""
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE_OPTIONS:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return sock
    except BaseException:
        sock.close()
        raise


def _connect(sock: socket.socket, address: Any, timeout: Optional[float], call: Call) -> socket.socket:
    try:
        result = sock.connect_ex(address)
        call.attach(sock)
        if result == errno.EINPROGRESS:
            waiter = select.poll()
            waiter.register(sock, select.POLLOUT)
            events = waiter.poll(None if timeout is None else timeout * 1000)
            call.check()
            if not events:
                raise OSError(errno.ETIMEDOUT, f"no answer within {timeout:.1f} s")
            result = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result:
            raise OSError(result, os.strerror(result))
        sock.settimeout(call.connect_timeout)  # for the TLS handshake, which is part of connecting
        return sock
    except BaseException:
        sock.close()
        raise


class _OwnedConnection:
    """The common part of plain and encrypted connections."""

    #: The class that http.client uses for responses.
    response_class: Any = StrictResponse

    sock: Any
    call: Optional[Call] = None
    #: The head of a request whose body follows; empty before the head, None if head and body are sent separately.
    _head: Optional[bytes] = None

    def _new_conn(self) -> socket.socket:
        self.call = _of_this_thread()
        host: str = self._dns_host  # type: ignore[attr-defined]
        port: int = self.port  # type: ignore[attr-defined]
        return open_socket(host, port, self.call)

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._ready()

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # from the pool; a new connection opens with the first bytes sent
            self.call = _of_this_thread()
            self.call.attach(self.sock)
            self._ready()
        super().putrequest(*args, **kwargs)  # type: ignore[misc]

    def request(self, method: str, url: str, body: Any = None, *args: Any, **kwargs: Any) -> None:
        self._head = b"" if isinstance(body, bytes) and len(body) <= _SMALL else None
        super().request(method, url, body, *args, **kwargs)  # type: ignore[misc]

    def send(self, data: Any) -> None:
        if self._head is not None:
            if not self._head:
                self._head = data
                return
            # In one piece, since the head alone would wake the server too early.
            data, self._head = self._head + data, None
        try:
            super().send(data)  # type: ignore[misc]
        except (ConnectionResetError, ssl.SSLEOFError) as error:
            # The server closed the connection, most likely after a response with the reason, such as a missing client
            # certificate or a blob that it already has. urllib3 reads that response only after a BrokenPipeError.
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error

    def _ready(self) -> None:
        call = _of_this_thread()
        call.sent = True
        # The read timeout covers sending, too: a server that does not read is silent.
        self.sock.settimeout(call.read_timeout)


def _of_this_thread() -> Call:
    if _current.call is None:
        raise RuntimeError("a connection was used outside on_behalf_of()")
    return _current.call


class _OwnedPool:
    """Detaches a connection from its call before any other call can get it."""

    def _put_conn(self, conn: Any) -> None:
        if conn is not None and conn.call is not None:
            conn.call.detach()
            conn.call = None
        super()._put_conn(conn)  # type: ignore[misc]


class OwnedHTTPConnection(_OwnedConnection, HTTPConnection):
    """A plain connection of a call."""


class OwnedHTTPSConnection(_OwnedConnection, HTTPSConnection):
    """An encrypted connection of a call."""


class OwnedHTTPConnectionPool(_OwnedPool, HTTPConnectionPool):
    """Plain connections."""

    ConnectionCls = OwnedHTTPConnection


class OwnedHTTPSConnectionPool(_OwnedPool, HTTPSConnectionPool):
    """Encrypted connections."""

    ConnectionCls = OwnedHTTPSConnection


POOL_CLASSES = {"http": OwnedHTTPConnectionPool, "https": OwnedHTTPSConnectionPool}
