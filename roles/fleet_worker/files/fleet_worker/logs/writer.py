# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The writer of log lines, with which the calling thread never waits for a slow reader.

If the pipe or socket has room, the writer writes a line at once. Otherwise the line waits in memory, and a thread
writes it later. The memory is limited: the writer drops further lines, and later writes a line with their number.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import threading
import time
from collections import deque
from typing import Callable, Optional

#: The most bytes of waiting lines. The line of a request has about 300.
MAX_WAITING = 1024 * 1024

#: The most seconds that the end of the process waits for a reader.
FAREWELL = 3.0


class LogWriter:
    """Writes lines to one descriptor, from any thread.

    :param descriptor: the descriptor of a pipe, a socket, a terminal or a file.
    :param dropped_line: returns the line with the number of dropped lines.
    """

    def __init__(self, descriptor: int, dropped_line: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._dropped_line = dropped_line
        self._put = _non_blocking(descriptor)
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._thread: Optional[threading.Thread] = None

    def write(self, line: bytes) -> None:
        """Write a line, now or later. Never raises."""
        with self._changed:
            rest = line if self._waiting else self._written(line)
            if not rest:
                return
            if self._size + len(rest) > MAX_WAITING and len(rest) == len(line):
                self._dropped += 1
                return
            self._append(rest)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="log", daemon=True)
                with contextlib.suppress(RuntimeError):  # without a free thread, the next line tries again
                    thread.start()
                    self._thread = thread
            self._changed.notify_all()

    def flush(self, seconds: float = FAREWELL) -> bool:
        """Wait at most some seconds until no line waits; return whether no line waits."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._waiting or self._dropped:
                if not self._changed.wait(deadline - time.monotonic()):
                    return False
        return True

    def _append(self, line: bytes) -> None:
        self._waiting.append(line)
        self._size += len(line)

    def _written(self, line: bytes) -> bytes:
        """Write the bytes that fit; return the rest."""
        try:
            return line[self._put(line) :]
        except BlockingIOError:
            return line
        except OSError:
            return b""  # the reader is gone, or the disk is full, so the line is lost

    def _run(self) -> None:
        """Write the waiting lines, in the thread of this writer."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while True:
            with self._changed:
                while not self._waiting:
                    if self._dropped:
                        dropped, self._dropped = self._dropped, 0
                        self._append(self._dropped_line(dropped))
                    else:
                        self._changed.notify_all()
                        self._changed.wait()
            poll.poll()
            with self._changed:
                line = self._waiting.popleft()
                rest = self._written(line)
                self._size -= len(line) - len(rest)
                if rest:
                    self._waiting.appendleft(rest)


def _non_blocking(descriptor: int) -> Callable[[bytes], int]:
    """Return a function that writes the bytes that fit, and raises BlockingIOError if none fit.

    The mode of the descriptor does not change, because other processes may share it.
    """
    if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        connection = socket.socket(fileno=os.dup(descriptor))
        return lambda data: connection.send(data, socket.MSG_DONTWAIT)
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return lambda data: _when_ready(descriptor, data)
    return lambda data: os.write(own, data)


def _when_ready(descriptor: int, data: bytes) -> int:
    """Write to a descriptor that cannot be reopened. A ready pipe takes that many bytes without waiting."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])
