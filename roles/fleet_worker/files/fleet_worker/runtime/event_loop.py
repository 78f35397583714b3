# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of the I/O thread: it waits for sockets, timers and other threads, and runs their callbacks.

It implements pika's interface of a loop (``AbstractSelectorIOLoop`` of pika.adapters.utils.selector_ioloop_adapter),
cheaper than pika's own loop: a thread wakes it only once per turn, and each handler is looked up once. The loop adds
two features. It has callbacks at the end of a turn, so that all frames of a turn are sent as one. And it survives an
exception in a callback, because one failed request must not end the work on all others.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Callable, Optional

from ..logs.log import Log

LOG = Log()

Callback = Callable[[], None]


class Timer:
    """A callback that is due at a time of the monotonic clock, unless it is removed."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback) -> None:
        self.callback: Optional[Callback] = callback


class EventLoop:
    """A loop over epoll. All methods except :meth:`add_callback_threadsafe` are only for the thread of the loop."""

    READ = select.EPOLLIN
    WRITE = select.EPOLLOUT
    ERROR = select.EPOLLERR

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int, int], None]] = {}
        self._callbacks: deque[Callback] = deque()
        self._at_end: deque[Callback] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._removed = 0
        self._stopping = False
        self._thread: Optional[int] = None
        #: Whether a wake-up byte for the waiting callbacks is in the pipe.
        self._woken = False
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.add_handler(self._wake_reader, self._hear, self.READ)

    def close(self) -> None:
        """Close the descriptors after the end of the loop."""
        self._handlers.clear()
        self._epoll.close()
        for descriptor in (self._wake_reader, self._wake_writer):
            os.close(descriptor)

    # Handlers, timers and callbacks

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        """Watch a descriptor; the handler gets the descriptor and its ready events (a sum of READ, WRITE and ERROR)."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def update_handler(self, fd: int, events: int) -> None:
        if fd in self._handlers:
            self._epoll.modify(fd, events)

    def remove_handler(self, fd: int) -> None:
        """Stop watching a descriptor. The loop itself removes a descriptor whose handler raises."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, delay: float, callback: Callback) -> Timer:
        """Run a callback after some seconds."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._numbers), timer))
        return timer

    def remove_timeout(self, timeout_handle: Timer) -> None:
        """Remove a timer. Removing a timer that has fired does no harm."""
        if timeout_handle.callback is not None:
            timeout_handle.callback = None
            self._removed += 1

    def add_callback_threadsafe(self, callback: Callback) -> None:
        """Run a callback on the next turn; may be called from any thread."""
        self._callbacks.append(callback)
        # Append first, because the loop clears the mark before it takes the callbacks.
        if not self._woken and threading.get_ident() != self._thread:
            self._woken = True
            with suppress(BlockingIOError):  # the pipe is full of unread wake-up bytes
                os.write(self._wake_writer, b"!")

    add_callback = add_callback_threadsafe

    def at_end_of_turn(self, callback: Callback) -> None:
        """Run a callback at the end of this turn."""
        self._at_end.append(callback)

    # Running

    def start(self) -> None:
        """Run turns until :meth:`stop`."""
        self._thread = threading.get_ident()
        try:
            while not self._stopping:
                self.turn()
        finally:
            self._thread = None
            self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    def turn(self) -> None:
        """Wait for events, timers or callbacks, and run them."""
        for fd, events in self._epoll.poll(self._patience()):
            handler = self._handlers.get(fd)  # None if an earlier handler of this turn has removed the descriptor
            if handler is not None:
                try:
                    handler(fd, events)
                except Exception:
                    # The descriptor is still ready, so the loop would call the failing handler again at once.
                    LOG.exception("defect")
                    self.remove_handler(fd)
        self._woken = False
        for _number in range(len(self._callbacks)):
            _call(self._callbacks.popleft())
        if self._timers:
            self._call_due()
        while self._at_end:
            _call(self._at_end.popleft())

    def _patience(self) -> Optional[float]:
        """Return the seconds until the next timer; None without a timer."""
        if self._callbacks or self._stopping:
            return 0.0
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
            self._removed -= 1
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _call_due(self) -> None:
        now = time.monotonic()
        due = []
        while self._timers and self._timers[0][0] <= now:
            due.append(heapq.heappop(self._timers)[2])
        for timer in due:
            callback, timer.callback = timer.callback, None
            if callback is None:
                self._removed -= 1
            else:
                _call(callback)
        if self._removed > 1000 and self._removed > len(self._timers) // 2:
            self._timers = [entry for entry in self._timers if entry[2].callback is not None]
            heapq.heapify(self._timers)
            self._removed = 0

    def _hear(self, fd: int, _events: int) -> None:
        os.read(fd, 4096)


def _call(callback: Callback) -> None:
    try:
        callback()
    except Exception:
        LOG.exception("defect")
