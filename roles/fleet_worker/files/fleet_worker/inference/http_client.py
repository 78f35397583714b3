# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP client of the I/O thread, for an Ollama on this machine. It drives the HTTP parser without ever waiting.

Passing a request to a thread and its answer back costs two thread switches and two wake-ups, most of the worker's cost
of a short inference. The I/O thread can avoid this cost, because it already waits for sockets: the connection to Ollama
is one more.

This client handles only the plain case: HTTP without TLS to a loopback address, one request, one answer, no retry. A
thread with the client of ``_ollama`` handles all other cases, and all failed connections.

Everything here runs on the I/O thread, and nothing here waits.
"""

from __future__ import annotations

import errno
import math
import os
import re
import socket
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any, Callable, Optional, Union

from .._http.errors import HttpError
from .._http.response_parser import ResponseParser
from .._ollama.api_errors import (
    CallCancelledError,
    ConnectionLostError,
    OllamaError,
    ServerUnreachableError,
    UnexpectedAnswerError,
)
from .._ollama.calls import RESET_WHEN_CLOSED, deadline_exceeded
from .._ollama.hosts import ServerAddress
from .._ollama.sockets import new_socket
from .._ollama.transport import HttpRequest
from ..logs.defects import contained

#: The bytes of one read, and the most reads in one turn of the loop, because other requests wait meanwhile.
_PIECE = 65536
_PIECES = 16

#: Characters that the name or value of a header cannot contain.
_UNFIT = re.compile("[\r\n\0]")

#: The answer or the error of a request, and the callback for it.
HttpResult = Union[ResponseParser, OllamaError]
OnResult = Callable[[HttpResult], None]


class HttpClient:
    """Sends requests to one Ollama, over persistent connections.

    :param loop: the loop of the I/O thread.
    :param address: an address that :meth:`suits`.
    :ivar idle: the connections without a request.
    :ivar unanswered: the requests without an answer.
    """

    def __init__(self, loop: Any, address: ServerAddress) -> None:
        self.loop = loop
        self.address = address
        self.idle: list[_OllamaConnection] = []
        self.unanswered: set[PendingRequest] = set()
        # "localhost" means both addresses. An address that refused a connection comes last.
        self._hosts = deque(["127.0.0.1", "::1"] if address.host == "localhost" else [address.host])
        self._heads: dict[Any, bytes] = {}
        self._alarm_at = math.inf

    @staticmethod
    def suits(address: ServerAddress) -> bool:
        """Return whether this client can use an address: loopback without TLS, a proxy or a DNS lookup."""
        return address.scheme == "http" and address.is_loopback

    def ask(self, request: HttpRequest, seconds: float, on_result: OnResult) -> PendingRequest:
        """Send a request.

        :param seconds: the time limit of the request.
        :param on_result: called once, on a later turn of the loop, with the complete answer or with an error:
            :class:`ServerUnreachableError`, :class:`ConnectionLostError`, :class:`UnexpectedAnswerError`,
            :class:`DeadlineExceededError` or :class:`CallCancelledError`.
        :raises ValueError: if a header cannot be sent.
        """
        content = request.body if isinstance(request.body, bytes) else b""
        data = b"%sContent-Length: %d\r\n\r\n%s" % (self._head(request), len(content), content)
        pending = PendingRequest(self, seconds, on_result)
        self.unanswered.add(pending)
        try:
            connection = self.idle.pop() if self.idle else _OllamaConnection(self)
        except OSError as error:
            pending.fail(self.unreachable(error))
            return pending
        connection.send(data, pending)
        if pending.deadline < self._alarm_at:
            self._set_alarm(pending.deadline)
        return pending

    @property
    def host(self) -> str:
        """The IP address to connect to."""
        return self._hosts[0]

    def unreachable(self, error: OSError) -> ServerUnreachableError:
        """Return the error of a failed connection. The next request tries another address."""
        self._hosts.rotate(1)
        failure = ServerUnreachableError(f"No connection to {self.address.url}: {error.strerror or error}")
        failure.__cause__ = error
        return failure

    def close_idle(self) -> None:
        """Close the connections without a request."""
        while self.idle:
            self.idle.pop().close()

    def _head(self, request: HttpRequest) -> bytes:
        """Return the head of a request without its length, the only header that differs among requests of a kind."""
        key = (request.method, request.path, *request.headers.items())
        head = self._heads.get(key)
        if head is None:
            fields = {"Host": self.address.url.partition("://")[2].partition("/")[0], **request.headers}
            if any(map(_UNFIT.search, (*fields, *fields.values()))):
                raise ValueError("a header has a line break in it")
            lines = [f"{request.method} {self.address.path}{request.path} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in fields.items()]
            head = self._heads[key] = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        return head

    def _set_alarm(self, deadline: float) -> None:
        self._alarm_at = deadline
        self.loop.call_later(max(0.0, deadline - time.monotonic()), partial(self._fail_overdue, deadline))

    def _fail_overdue(self, alarm_at: float) -> None:
        """Fail the overdue requests. One timer is enough for all requests, because nearly all end long before."""
        if alarm_at != self._alarm_at:
            return  # a later call has set an earlier alarm
        now = time.monotonic()
        for pending in [pending for pending in self.unanswered if pending.deadline <= now]:
            pending.fail(deadline_exceeded(pending.seconds))
        self._alarm_at = math.inf
        if self.unanswered:
            self._set_alarm(min(pending.deadline for pending in self.unanswered))


class PendingRequest:
    """A sent request, until the call of its callback."""

    def __init__(self, client: HttpClient, seconds: float, on_result: OnResult) -> None:
        self._client = client
        self._on_result: Optional[OnResult] = on_result
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self.connection: Optional[_OllamaConnection] = None

    def cancel(self) -> None:
        """Cancel the request. Ollama stops the work on it."""
        self.fail(CallCancelledError("The call was cancelled"))

    def fail(self, error: OllamaError) -> None:
        """End the request with an error.

        The callback gets the error on a later turn of the loop, so that it does not interrupt the caller.
        """
        on_result = self._detach()
        if on_result is not None:
            self._client.loop.add_callback_threadsafe(partial(on_result, error))

    def succeed(self, response: ResponseParser) -> None:
        on_result = self._detach()
        if on_result is not None:
            # A defect of the callback must not end the connection and the other requests.
            contained(partial(on_result, response), lambda _error: None)

    def _detach(self) -> Optional[OnResult]:
        """Reset the connection, unless it is detached; return the callback, ``None`` if it was called already."""
        on_result, self._on_result = self._on_result, None
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.reset()
        self._client.unanswered.discard(self)
        return on_result


class _OllamaConnection:
    """A connection to Ollama, for one request at a time. In between it is one of the idle connections."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._loop = client.loop
        self._pending: Optional[PendingRequest] = None
        self._unsent: Union[bytes, memoryview] = b""
        self._response = ResponseParser()
        self._socket = new_socket(socket.AF_INET6 if ":" in client.host else socket.AF_INET)
        try:
            result = self._socket.connect_ex((client.host, client.address.port))
            if result not in (0, errno.EINPROGRESS):
                raise OSError(result, os.strerror(result))
            # For the whole life of the connection, so that the client notices the end of an idle connection at once.
            self._loop.add_handler(self._socket.fileno(), self._on_events, self._loop.READ)
        except BaseException:
            self._socket.close()
            raise

    def send(self, data: bytes, pending: PendingRequest) -> None:
        self._pending, self._response = pending, ResponseParser()
        pending.connection = self
        self._unsent = data
        self._send_rest(pending)
        if self._unsent:
            self._loop.update_handler(self._socket.fileno(), self._loop.READ | self._loop.WRITE)

    def reset(self) -> None:
        """Reset the connection, so that Ollama notices the end at once, even while it writes faster than we read."""
        self._pending = None
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_WHEN_CLOSED)
        self.close()

    def close(self) -> None:
        self._loop.remove_handler(self._socket.fileno())
        self._socket.close()

    def _on_events(self, _descriptor: int, events: int) -> None:
        pending = self._pending
        if pending is None:
            # Data on an idle connection: Ollama has closed it, or has sent data without a request.
            self._client.idle.remove(self)
            self.close()
            return
        if self._unsent:
            self._send_rest(pending)
            if not self._unsent and pending.connection is self:
                self._loop.update_handler(self._socket.fileno(), self._loop.READ)
        if events & self._loop.READ and pending.connection is self:
            self._receive(pending)

    def _send_rest(self, pending: PendingRequest) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return  # the buffer of the socket is full, or the connection is not open yet
        except ConnectionRefusedError as error:
            self._unsent = b""
            pending.fail(self._client.unreachable(error))
            return
        except OSError:
            # Ollama has closed the connection, and may have sent an answer before. The next read shows it.
            self._unsent = b""
            return
        self._unsent = b"" if sent == len(self._unsent) else memoryview(self._unsent)[sent:]

    def _receive(self, pending: PendingRequest) -> None:
        # Outside the handling of connection errors, because an exception of the callback is not one of them.
        if self._receive_answer(pending):
            self._finish(pending)

    def _receive_answer(self, pending: PendingRequest) -> bool:
        """Receive data; return whether the answer is complete."""
        try:
            for _turn in range(_PIECES):
                data = self._socket.recv(_PIECE)
                if self._response.feed(data) if data else self._response.end():
                    return True
                if not data:
                    pending.fail(ConnectionLostError(f"{self._client.address.url} closed the connection"))
                    return False
                if len(data) < _PIECE:
                    return False
        except BlockingIOError:
            return False
        except ConnectionRefusedError as error:
            pending.fail(self._client.unreachable(error))
        except OSError as error:
            text = error.strerror or str(error)
            pending.fail(ConnectionLostError(f"The connection to {self._client.address.url} broke: {text}"))
        except HttpError as error:
            pending.fail(
                UnexpectedAnswerError(f"The server at {self._client.address.url} does not speak HTTP: {error}")
            )
        return False

    def _finish(self, pending: PendingRequest) -> None:
        if self._response.reusable and not self._unsent:
            self._pending = pending.connection = None
            self._client.idle.append(self)
        pending.succeed(self._response)
