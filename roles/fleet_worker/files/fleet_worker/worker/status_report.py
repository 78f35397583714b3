# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of the worker: one line for systemd, and details for the status document and the metrics."""

from __future__ import annotations

import time
from typing import Optional

from .._ollama.text import printable
from ..amqp.session import BrokerSession
from ..inference.in_flight import InFlightRequests
from ..observe.recorder import RequestRecorder
from ..observe.worker_status import LaneReport, RequestReport, WorkerStatus
from ..runtime.watchdog import Watchdog
from ..scheduling.scheduler import Scheduler
from .drain import Drain
from .lane_board import LaneBoard
from .waiting_room import WaitingRoom

#: The reason for an open lane whose broker does not answer.
SILENT = "the broker does not answer for the lane's queue; the broker node with the queue's leader may be frozen"


class StatusReport:
    """Reads the state of one worker. For the I/O thread."""

    def __init__(
        self,
        session: BrokerSession,
        board: LaneBoard,
        scheduler: Scheduler,
        requests: InFlightRequests,
        waiting_room: WaitingRoom,
        drain: Drain,
        recorder: RequestRecorder,
        watchdog: Watchdog,
    ) -> None:
        self._session = session
        self._board = board
        self._scheduler = scheduler
        self._requests = requests
        self._waiting_room = waiting_room
        self._drain = drain
        self._recorder = recorder
        self._watchdog = watchdog
        self._began = time.time()

    def summary(self) -> str:
        """Return the status in one line."""
        waiting = len(self._waiting_room.pausing())
        running = f"{sum(request.has_slot for request in self._requests)} running, {self._scheduler.held} held"
        if waiting:
            running += f", {waiting} waiting for a busy Ollama"
        if self._drain.has_begun:
            return f"draining: {running}, {self._drain.seconds_left:.0f} s left"
        if not self._session.is_connected:
            return f"not connected to {self._session.address}; {running}"
        reasons = self._board.reasons()
        lanes = len(self._board.lanes)
        text = f"{lanes - sum(reasons.values())} of {lanes} lanes served ({self._scheduler.mode.value}), {running}"
        if self._session.blocked:
            text += "; the broker has an alarm and takes no answers"
        return "; ".join([text, *(f"{count} paused: {reason}" for reason, count in reasons.most_common(1))])

    def status(self, *, ready: bool) -> WorkerStatus:
        """Return the status in detail.

        :param ready: whether the worker is ready.
        """
        now = time.monotonic()
        return WorkerStatus(
            summary=self.summary(),
            thread_trouble=self._watchdog.trouble,
            ready=ready,
            connected=self._session.is_connected,
            blocked=self._session.blocked,
            draining=self._drain.has_begun,
            ollama_up=self._board.ollama_is_up,
            broker=self._session.address,
            since=self._began,
            slots=self._scheduler.slots,
            held=self._scheduler.held,
            lanes=tuple(self._lane(queue) for queue in self._board.lanes),
            in_flight=tuple(
                RequestReport(request.lane.queue, _shown(request.correlation_id), round(now - request.started, 3))
                for request in self._requests
            ),
            rates=self._recorder.rates(),
            counts=self._recorder.counts(self._session.registry.counters),
        )

    def _lane(self, queue: str) -> LaneReport:
        settings = self._board.lanes[queue]
        lane = settings.lane
        return LaneReport(
            queue,
            lane.model,
            lane.type,
            lane.style,
            lane.context_window,
            state="degraded" if self._board.is_degraded(queue) else self._scheduler.mode_of(queue),
            reason=self._board.status(queue).reason or (SILENT if self._scheduler.is_silent(queue) else ""),
            running=sum(request.has_slot and request.lane.queue == queue for request in self._requests),
            answered=self._recorder.answered(queue),
        )


def _shown(identifier: Optional[str]) -> Optional[str]:
    """Return a requester's identifier in a printable form. pika returns identifiers that are not UTF-8 as bytes."""
    return None if identifier is None else printable(identifier)
