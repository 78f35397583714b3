# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""One call: its deadlines, and its cancellation from another thread.

Closing a session of ``requests`` neither wakes a caller that waits for the headers nor stops Ollama. A shutdown of the
socket does both at once. So a call holds a duplicate of its socket's file descriptor, because the descriptor itself can
be closed, or wrapped by TLS, at any moment.
"""

from __future__ import annotations

import heapq
import os
import socket
import struct
import threading
import time
from contextlib import suppress
from itertools import count
from typing import Optional

from .api_errors import CallCancelledError, DeadlineExceededError, OllamaError

#: ``struct linger``: switched on, and zero seconds (socket(7)).
RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)


def deadline_exceeded(seconds: float) -> DeadlineExceededError:
    """Return the error of a call that exceeded its total time."""
    return DeadlineExceededError(
        f"The call did not end within {seconds:g} seconds",
        remedy="Allow the call more time, or find out why the server is busy",
        timeout=seconds,
    )


class Call:
    """One call of the client; a caller creates it for its own deadlines, or to cancel the call.

    :param connect_timeout: seconds for a connection attempt; the client's value when None.
    :param read_timeout: seconds that the server may stay silent; the client's value when None.
    :param total_timeout: seconds for the whole call, including retries and the reading of a stream; None for no limit.
    :param repeatable: whether the call may be repeated after a failure with an unknown outcome. With None the client
        decides: it repeats calls that have the same effect when run twice.

    A call can be used only once. Any thread may cancel it, at any time, more than once.
    """

    def __init__(
        self,
        *,
        connect_timeout: Optional[float] = None,
        read_timeout: Optional[float] = None,
        total_timeout: Optional[float] = None,
        repeatable: Optional[bool] = None,
    ) -> None:
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.total_timeout = total_timeout
        self.repeatable = repeatable
        #: Whether the connection of the current try was ready, so that the request may have reached the server.
        self.sent = False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._error: Optional[OllamaError] = None
        self._socket: Optional[socket.socket] = None
        self._begun = False

    # Interface of the caller

    def cancel(self) -> None:
        """Cancel the call: its caller gets :class:`CallCancelledError` at once, and Ollama stops working."""
        self._end(CallCancelledError("The call was cancelled"))

    @property
    def cancelled(self) -> bool:
        return isinstance(self._error, CallCancelledError)

    # Interface of the client

    def begin(self) -> None:
        """Start the clock of the total deadline.

        :raises RuntimeError: if the call was used before.
        """
        with self._lock:
            if self._begun:
                raise RuntimeError("a Call serves one call of the client only")
            self._begun = True
        if self.total_timeout is not None:
            _WATCHDOG.watch(self, time.monotonic() + self.total_timeout)

    def check(self) -> None:
        """Raise the error that ended the call, if any."""
        if self._error is not None:
            raise self._error

    def wait(self, seconds: float) -> None:
        """Sleep between two tries, until the call ends."""
        self._ended.wait(seconds)
        self.check()

    def finish(self) -> None:
        """Release the socket and the deadline at the end of the call."""
        self.detach()
        if self.total_timeout is not None:
            _WATCHDOG.forget(self)

    def expire(self) -> None:
        """End the call because it exceeded its total time."""
        self._end(deadline_exceeded(self.total_timeout or 0.0))

    # Interface of the transport

    def attach(self, sock: socket.socket) -> None:
        """Attach the socket of this call, so that a cancellation can shut it down."""
        handle = socket.socket(fileno=os.dup(sock.fileno()))
        with self._lock:
            previous, self._socket = self._socket, handle
            error = self._error
        if previous is not None:
            previous.close()
        if error is not None:
            self.detach()
            raise error

    def detach(self) -> None:
        """Detach the socket, before another call can use the connection."""
        with self._lock:
            handle, self._socket = self._socket, None
        if handle is not None:
            handle.close()

    def _end(self, error: OllamaError) -> None:
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            self._ended.set()
            if self._socket is not None:
                with suppress(OSError):  # the server may have closed the connection
                    # Reset the connection on close. Otherwise a server that writes faster than this side reads would
                    # wait for window space (seen for a minute) before it notices the cancellation.
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_WHEN_CLOSED)
                    self._socket.shutdown(socket.SHUT_RDWR)


class _Watchdog:
    """One thread that ends calls which exceed their total time, wherever they are blocked.

    Socket timeouts are not enough, because each byte from the server restarts them.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._order = count()
        self._deadlines: list[tuple[float, int, Call]] = []
        self._watched: set[Call] = set()
        self._thread: Optional[threading.Thread] = None

    def watch(self, call: Call, deadline: float) -> None:
        with self._changed:
            self._watched.add(call)
            heapq.heappush(self._deadlines, (deadline, next(self._order), call))
            if self._thread is None or not self._thread.is_alive():  # also the case in a forked child
                self._thread = threading.Thread(target=self._run, name="ollama-deadlines", daemon=True)
                self._thread.start()
            elif self._deadlines[0][2] is call:
                self._changed.notify()

    def forget(self, call: Call) -> None:
        with self._changed:
            self._watched.discard(call)
            if len(self._deadlines) > 2 * len(self._watched) + 32:  # drop ended calls in batches, which is cheap
                self._deadlines = [entry for entry in self._deadlines if entry[2] in self._watched]
                heapq.heapify(self._deadlines)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                if not self._deadlines:
                    self._changed.wait()
                    continue
                if self._deadlines[0][0] > now:
                    self._changed.wait(self._deadlines[0][0] - now)
                    continue
                _deadline, _number, call = heapq.heappop(self._deadlines)
                due = call in self._watched
                self._watched.discard(call)
            if due:
                call.expire()


_WATCHDOG = _Watchdog()
