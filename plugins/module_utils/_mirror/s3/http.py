# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""HTTP for requests without a body, and for answers of a known length: what an object costs beside its bytes.

http.client reads an answer's headers as those of a mail, which takes longer than all else that a small object needs,
and it looks whether bytes are there before it takes any. Here an answer's head is split at its lines, and its body is
received where it belongs, by as few calls as the system allows. Whatever is not as simple as that is refused, for the
SDK to try.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from ssl import SSLContext

#: Bytes. S3 servers send heads of 300 to 1,000 bytes; what is larger than the limit is none.
_HEAD = 4096
_MAX_HEAD = 65536

#: Bytes that one call waits for at least and at most, and the seconds that it should take: few calls where bytes come
#: fast, and where they come slowly, not long without a word of how far it is, or without a look whether to stop.
_LEAST = 16 * 1024
_MOST = 2 * 1024 * 1024
_PATIENCE = 0.2


#: A head: the status, and headers, each on one line. Who reads a value that goes on in the next line, or a space before
#: a colon, in another way than the server finds another end of the body.
_HEADS = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2})(?: [^\r\n\0]*)?((?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*)*)")
_LENGTH = re.compile(r"[0-9]{1,15}")
#: Headers of which a second one contradicts the first.
_SINGLE = ("content-length", "transfer-encoding", "content-range", "etag")


class WireError(OSError):
    """There is no answer, or none that can be read here."""


class Endpoint:
    """A server, and the connections to it that are open. Safe for use by several threads.

    :param connect_timeout: in seconds.
    :param silence: for how many seconds a connection may be silent.
    :param tls: how to encrypt, if so.
    """

    def __init__(
        self, host: str, port: int, *, connect_timeout: float, silence: float, tls: Optional[SSLContext] = None
    ) -> None:
        self._place = (host, port)
        self._connect_timeout = connect_timeout
        self._silence = silence
        self._tls = tls
        self._idle: deque[_S3Connection] = deque()  # threads may append and pop at once (collections.deque)
        self._process = os.getpid()

    def ask(self, method: str, target: str, headers: Mapping[str, str]) -> S3Response:
        """Send a request, and return the answer when its head is there.

        :param target: path and query, quoted.
        :raises OSError: when there is no answer, or none of a known length.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if lines.count("\n") != len(headers) or not lines.isascii():
            raise WireError(errno.EINVAL, "a header cannot be sent as it is")
        request = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("ascii")
        while True:
            connection = self._reusable()
            fresh = connection is None
            connection = connection or self._connect()
            try:
                connection.socket.sendall(request)
                status, told = connection.head()
                return S3Response(self, connection, status, told, bodiless=method == "HEAD")
            except OSError:
                connection.close()
                if fresh:
                    raise
                # The server may hang up on a connection that nobody uses, at any time.
            except BaseException:
                connection.close()
                raise

    def _reusable(self) -> Optional[_S3Connection]:
        """Return an open connection on which nothing is under way."""
        if self._process != os.getpid():
            # After a fork, two processes on one connection would get each other's answers.
            self._idle, self._process = deque(), os.getpid()
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.silent():
                return connection
            connection.close()

    def _connect(self) -> _S3Connection:
        made = socket.create_connection(self._place, self._connect_timeout)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                made = self._tls.wrap_socket(made, server_hostname=self._place[0])
                made.settimeout(self._silence)
                return _S3Connection(made, patient=False)
            # The system's own timeout, not Python's, which would have to ask before each call whether bytes are there,
            # and could not have the system wait for many.
            made.settimeout(None)
            timeout = struct.pack("@ll", int(self._silence), 0)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            return _S3Connection(made, patient=True)
        except BaseException:
            made.close()
            raise

    def take_back(self, connection: _S3Connection) -> None:
        """Keep a connection whose answer was read to its end."""
        self._idle.append(connection)


class S3Response:
    """One answer. Its body is read once, in order."""

    def __init__(
        self, endpoint: Endpoint, connection: _S3Connection, status: int, headers: dict[str, str], *, bodiless: bool
    ) -> None:
        """:param headers: their names in lower case."""
        self.status = status
        self.headers = headers
        length = headers.get("content-length", "0" if status == 204 else "")
        if "transfer-encoding" in headers or not _LENGTH.fullmatch(length):
            raise WireError(errno.EPROTO, "the answer is not of a known length")
        self.length = int(length)
        self._endpoint = endpoint
        self._connection = connection
        self._left = 0 if bodiless else self.length

    def readinto(self, view: memoryview) -> int:
        """Receive bytes, and return how many; 0 at the end, be it too early."""
        if not self._left:
            return 0
        count = self._connection.readinto(view[: self._left])
        self._left -= count
        return count

    def read(self, limit: int) -> bytes:
        """Return the body, at most so many bytes of it.

        :raises OSError: when it ends early.
        """
        content = bytearray(min(limit, self._left))
        view, got = memoryview(content), 0
        while got < len(content):
            count = self.readinto(view[got:])
            if not count:
                raise WireError(errno.ECONNRESET, "the answer ended early")
            got += count
        return bytes(content)

    def close(self) -> None:
        """Be done: the connection is used again if all was read and the server agrees, else it is cut."""
        if self._left or self.headers.get("connection", "").lower() == "close":
            self._connection.close()
        else:
            self._endpoint.take_back(self._connection)


class _S3Connection:
    """An open connection.

    :param patient: whether one call of the system can wait for all bytes that are wanted.
    """

    def __init__(self, opened: socket.socket, *, patient: bool) -> None:
        self.socket = opened
        self._patient = patient
        self._wanted = 16 * _LEAST  # as many as one call waits for
        self._rest = memoryview(b"")  # of the body, received with the head

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()

    def silent(self) -> bool:
        """Return whether nothing has come since the last answer: neither the end, nor what would pass for an answer.

        Proxies send one, that of status 408, before they hang up on a connection that nobody uses.
        """
        waiting = select.poll()
        waiting.register(self.socket, select.POLLIN)
        return not waiting.poll(0)

    def head(self) -> tuple[int, dict[str, str]]:
        """Receive the head of an answer; return its status, and its headers by their names in lower case."""
        head = b""
        while True:
            try:
                received = self.socket.recv(_HEAD)
            except BlockingIOError as error:
                raise _silent() from error
            if not received:
                raise WireError(errno.ECONNRESET, "the server hung up")
            head += received
            end = head.find(b"\r\n\r\n")
            if end >= 0:
                break
            if len(head) > _MAX_HEAD:
                raise WireError(errno.EPROTO, "the answer has no end to its head")
        self._rest = memoryview(head)[end + 4 :]
        match = _HEADS.fullmatch(head, 0, end)
        if match is None:
            raise WireError(errno.EPROTO, "the answer is not one of HTTP/1.1, or has a header that is none")
        headers: dict[str, str] = {}
        for line in match[2].decode("latin-1").split("\r\n")[1:]:
            name, _colon, value = line.partition(":")
            name = name.lower()
            if name in headers and name in _SINGLE:
                raise WireError(errno.EPROTO, f"the answer has the header {name} more than once")
            headers[name] = value.strip()
        return int(match[1]), headers

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
