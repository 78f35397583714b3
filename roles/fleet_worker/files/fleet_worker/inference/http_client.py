# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ollama on this machine, asked from the I/O thread.

To hand a request to a thread and to take its answer back costs two switches between threads and two wake-ups, which
together are most of what a short inference costs this worker. An Ollama nearby needs none of it: what there is to wait
for is one socket more among those that the I/O thread waits for anyway.

Only the plain case is done here: HTTP without TLS to a loopback address, one request, one answer, no retry. Whatever
else is needed, and whatever goes wrong with a connection, is left to a thread and the client of ``_ollama``.

Everything here runs on the I/O thread, and nothing in it waits.
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

#: Bytes that are received at a time, and how often in one turn of the loop: others wait meanwhile.
_PIECE = 65536
_PIECES = 16

#: What a name or a value of a header cannot have in it.
_UNFIT = re.compile("[\r\n\0]")

#: What Ollama has answered, or why it has not; and whom that is told.
HttpResult = Union[ResponseParser, OllamaError]
OnResult = Callable[[HttpResult], None]


class HttpClient:
    """Asks one Ollama, over connections that are kept.

    :param loop: pika's.
    :param address: one that :meth:`suits`.
    """

    def __init__(self, loop: Any, address: ServerAddress) -> None:
        self.loop = loop
        self.address = address
        self.idle: list[_OllamaConnection] = []
        self.under_way: set[PendingRequest] = set()
        # The name means both; the one that was refused last is tried last.
        self._hosts = deque(["127.0.0.1", "::1"] if address.host == "localhost" else [address.host])
        self._heads: dict[Any, bytes] = {}
        self._alarm_at = math.inf

    @staticmethod
    def suits(address: ServerAddress) -> bool:
        """Whether an address is asked from here: without TLS, a proxy, or a name that somebody has to be asked for."""
        return address.scheme == "http" and address.is_loopback

    def ask(self, request: HttpRequest, seconds: float, told: OnResult) -> PendingRequest:
        """Send a request.

        :param seconds: for the whole of it.
        :param told: called once, on a later turn of the loop, with the complete answer, or with what went wrong:
            :class:`ServerUnreachableError`, :class:`ConnectionLostError`, :class:`UnexpectedAnswerError`, and
            :class:`DeadlineExceededError` or :class:`CallCancelledError` for what ended it.
        :raises ValueError: for headers that cannot be sent.
        """
        content = request.body if isinstance(request.body, bytes) else b""
        data = b"%sContent-Length: %d\r\n\r\n%s" % (self._head(request), len(content), content)
        asked = PendingRequest(self, seconds, told)
        self.under_way.add(asked)
        try:
            connection = self.idle.pop() if self.idle else _OllamaConnection(self)
        except OSError as error:
            asked.fail(self.unreachable(error))
            return asked
        connection.send(data, asked)
        if asked.deadline < self._alarm_at:
            self._wake_at(asked.deadline)
        return asked

    @property
    def host(self) -> str:
        """The IP address to connect to."""
        return self._hosts[0]

    def unreachable(self, error: OSError) -> ServerUnreachableError:
        """Return the error of a connection that did not come about; another address is tried the next time."""
        self._hosts.rotate(1)
        failure = ServerUnreachableError(f"No connection to {self.address.url}: {error.strerror or error}")
        failure.__cause__ = error
        return failure

    def close_idle(self) -> None:
        """Close the connections that only wait for the next request."""
        while self.idle:
            self.idle.pop().close()

    def _head(self, request: HttpRequest) -> bytes:
        """Return the head of a request but for its length, in which alone two requests of a kind differ."""
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

    def _wake_at(self, deadline: float) -> None:
        self._alarm_at = deadline
        self.loop.call_later(max(0.0, deadline - time.monotonic()), partial(self._look_at_deadlines, deadline))

    def _look_at_deadlines(self, alarm_at: float) -> None:
        """End what has taken too long. One timer is for all of them: nearly all requests end long before."""
        if alarm_at != self._alarm_at:
            return  # an earlier one was set since
        now = time.monotonic()
        for asked in [asked for asked in self.under_way if asked.deadline <= now]:
            asked.fail(deadline_exceeded(asked.seconds))
        self._alarm_at = math.inf
        if self.under_way:
            self._wake_at(min(asked.deadline for asked in self.under_way))


class PendingRequest:
    """One request that was sent, until its end is told."""

    def __init__(self, asker: HttpClient, seconds: float, told: OnResult) -> None:
        self._asker = asker
        self._told: Optional[OnResult] = told
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self.connection: Optional[_OllamaConnection] = None

    def cancel(self) -> None:
        """End it: Ollama stops working on it."""
        self.fail(CallCancelledError("The call was cancelled"))

    def fail(self, error: OllamaError) -> None:
        """End it for a reason, which is told on a later turn: whoever ends it may be in the middle of something."""
        told = self._over()
        if told is not None:
            self._asker.loop.add_callback_threadsafe(partial(told, error))

    def succeed(self, response: ResponseParser) -> None:
        told = self._over()
        if told is not None:
            # A defect is one of whoever asked; the connection and the others go on.
            contained(partial(told, response), lambda _error: None)

    def _over(self) -> Optional[OnResult]:
        """Let go of the connection; return whom to tell, None when it was over already."""
        told, self._told = self._told, None
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.reset()
        self._asker.under_way.discard(self)
        return told


class _OllamaConnection:
    """A connection to Ollama. It serves one request at a time, and waits for the next one among the idle ones."""

    def __init__(self, asker: HttpClient) -> None:
        self._asker = asker
        self._loop = asker.loop
        self._asked: Optional[PendingRequest] = None
        self._unsent: Union[bytes, memoryview] = b""
        self._response = ResponseParser()
        self._socket = new_socket(socket.AF_INET6 if ":" in asker.host else socket.AF_INET)
        try:
            result = self._socket.connect_ex((asker.host, asker.address.port))
            if result not in (0, errno.EINPROGRESS):
                raise OSError(result, os.strerror(result))
            # For as long as it lives: the end of an idle one is noticed at once, and a request changes nothing here.
            self._loop.add_handler(self._socket.fileno(), self._on_events, self._loop.READ)
        except BaseException:
            self._socket.close()
            raise

    def send(self, data: bytes, asked: PendingRequest) -> None:
        self._asked, self._response = asked, ResponseParser()
        asked.connection = self
        self._unsent = data
        self._send(asked)
        if self._unsent:
            self._loop.update_handler(self._socket.fileno(), self._loop.READ | self._loop.WRITE)

    def reset(self) -> None:
        """End it so that Ollama notices at once, also one that writes faster than it was read."""
        self._asked = None
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_WHEN_CLOSED)
        self.close()

    def close(self) -> None:
        self._loop.remove_handler(self._socket.fileno())
        self._socket.close()

    def _on_events(self, _descriptor: int, events: int) -> None:
        asked = self._asked
        if asked is None:
            # Nothing was asked: it is the end, or worse.
            self._asker.idle.remove(self)
            self.close()
            return
        if self._unsent:
            self._send(asked)
            if not self._unsent and asked.connection is self:
                self._loop.update_handler(self._socket.fileno(), self._loop.READ)
        if events & self._loop.READ and asked.connection is self:
            self._receive(asked)

    def _send(self, asked: PendingRequest) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return  # also while it is connecting
        except ConnectionRefusedError as error:
            self._unsent = b""
            asked.fail(self._asker.unreachable(error))
            return
        except OSError:
            # Ollama has hung up, and may have said before why. What it said, or that it said nothing, is read next.
            self._unsent = b""
            return
        self._unsent = b"" if sent == len(self._unsent) else memoryview(self._unsent)[sent:]

    def _receive(self, asked: PendingRequest) -> None:
        # What is raised by whoever gets the answer is no fault of the answer, so it is given outside of all this.
        if self._complete(asked):
            self._answered(asked)

    def _complete(self, asked: PendingRequest) -> bool:
        """Receive what has come; return whether the answer is complete."""
        try:
            for _turn in range(_PIECES):
                data = self._socket.recv(_PIECE)
                if self._response.feed(data) if data else self._response.end():
                    return True
                if not data:
                    asked.fail(ConnectionLostError(f"{self._asker.address.url} closed the connection"))
                    return False
                if len(data) < _PIECE:
                    return False
        except BlockingIOError:
            return False
        except ConnectionRefusedError as error:
            asked.fail(self._asker.unreachable(error))
        except OSError as error:
            text = error.strerror or str(error)
            asked.fail(ConnectionLostError(f"The connection to {self._asker.address.url} broke: {text}"))
        except HttpError as error:
            asked.fail(UnexpectedAnswerError(f"What answers at {self._asker.address.url} does not speak HTTP: {error}"))
        return False

    def _answered(self, asked: PendingRequest) -> None:
        if self._response.reusable and not self._unsent:
            self._asked = asked.connection = None
            self._asker.idle.append(self)
        asked.succeed(self._response)
