# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time that passes only when there is nothing else to do, and the processes that live in it.

A process can be paused, as by SIGSTOP, and killed. Events of a paused process happen when it goes on; events of a
dead one never do. Each process has a wall clock of its own, which can be wrong and can jump.
"""

from __future__ import annotations

import heapq
import itertools
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, Optional
from unittest import mock

Callback = Callable[[], Any]

#: Seconds since 1970 at the beginning of each run.
EPOCH = 1_800_000_000.0


class Alarm:
    """Something that is due, unless it is taken back."""

    __slots__ = ("callback", "process")

    def __init__(self, callback: Callback, process: Optional[Process]) -> None:
        self.callback: Optional[Callback] = callback
        self.process = process


class Process:
    """A process: a worker, or anything else whose clock may be wrong and that may stop.

    :ivar skew: seconds by which its wall clock is ahead.
    """

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock = clock
        self.name = name
        self.alive = True
        self.paused = False
        self.skew = 0.0
        self.running_since = clock.now
        #: What has come while it was paused, and which of its alarms were due.
        self._missed: deque[Callback] = deque()
        self._missed_alarms: deque[Alarm] = deque()
        self._at_end: deque[Callback] = deque()

    def run(self, callback: Callback) -> None:
        """Have the process do something now, or when it goes on."""
        if not self.alive:
            return
        if self.paused:
            self._missed.append(callback)
            return
        before, self.clock.process = self.clock.process, self
        try:
            callback()
            while self._at_end:
                self._at_end.popleft()()
        except Exception:  # noqa: BLE001 - the loop of a daemon goes on
            self.clock.raised.append(f"{self.name}: {traceback.format_exc()}")
        finally:
            self.clock.process = before

    def at_end(self, callback: Callback) -> None:
        """Call back at the end of what the process is doing now."""
        self._at_end.append(callback)

    def pause(self) -> None:
        self.paused = True

    def ring(self, alarm: Alarm) -> None:
        """An alarm is due; one that is late can still be taken back."""
        if self.alive and self.paused:
            self._missed_alarms.append(alarm)
            return
        callback, alarm.callback = alarm.callback, None
        if callback is not None:
            self.run(callback)

    def go_on(self) -> None:
        """Go on: as a loop does, with what has come first, and then with what is due."""
        self.paused = False
        self.running_since = self.clock.now
        while self._missed and self.alive and not self.paused:
            self.run(self._missed.popleft())
        while self._missed_alarms and self.alive and not self.paused:
            self.ring(self._missed_alarms.popleft())

    def kill(self) -> None:
        self.alive = False
        self._missed.clear()
        self._missed_alarms.clear()
        self._at_end.clear()


class Clock:
    """The time of a simulation, in seconds from its beginning."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        #: What processes have raised and not caught.
        self.raised: list[str] = []
        #: Whose code runs.
        self.process: Optional[Process] = None
        self._due: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()

    def at(self, moment: float, callback: Callback, process: Optional[Process] = None) -> Alarm:
        """Have something happen at a time; in a process, or in the world."""
        alarm = Alarm(callback, process)
        heapq.heappush(self._due, (max(moment, self.now), next(self._numbers), alarm))
        return alarm

    def after(self, seconds: float, callback: Callback, process: Optional[Process] = None) -> Alarm:
        return self.at(self.now + seconds, callback, process)

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass."""
        due = self._due
        while due and due[0][0] <= until and not done():
            moment, _number, alarm = heapq.heappop(due)
            callback = alarm.callback
            if callback is None:
                continue
            self.now = moment
            self.events += 1
            if alarm.process is None:
                alarm.callback = None
                callback()
            else:
                alarm.process.ring(alarm)
        if not done():
            self.now = max(self.now, until)

    def count(self, process: Process) -> int:
        """Return how many alarms of a process are set."""
        return sum(alarm.process is process and alarm.callback is not None for _at, _number, alarm in self._due)

    def monotonic(self) -> float:
        """Stands for ``time.monotonic``; never 0, which code may take for "never"."""
        return 1000.0 + self.now

    def wall(self) -> float:
        """Stands for ``time.time``."""
        return EPOCH + self.now + (self.process.skew if self.process is not None else 0.0)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let everybody who asks the module ``time`` have this time."""
        with mock.patch.multiple(time, monotonic=self.monotonic, time=self.wall):
            yield


class VirtualLoop:
    """The loop of one process on a virtual clock: what the daemon's own ``Loop`` is to everybody who uses it.

    :param network: what a connection of this process is made through.
    """

    READ, WRITE, ERROR = 1, 4, 8

    def __init__(self, process: Process, network: Any) -> None:
        self.process = process
        self.network = network
        self._clock = process.clock

    def call_later(self, delay: float, callback: Callback) -> Alarm:
        return self._clock.after(delay, callback, self.process)

    @staticmethod
    def remove_timeout(timeout_handle: Alarm) -> None:
        timeout_handle.callback = None

    def add_callback_threadsafe(self, callback: Callback) -> None:
        self._clock.after(0.0, callback, self.process)

    add_callback = add_callback_threadsafe

    def at_end_of_turn(self, callback: Callback) -> None:
        self.process.at_end(callback)

    def close(self) -> None:
        """Nothing to release."""
