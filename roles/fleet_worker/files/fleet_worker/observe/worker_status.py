# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the worker, for its status document and its metrics."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Optional

from .counts import Counts


@dataclass(frozen=True)
class LaneReport:
    """The state of a lane.

    :ivar state: ``push``, ``pull``, ``paused`` or ``degraded``.
    :ivar reason: the reason why the worker takes no requests from the lane; empty if it does.
    :ivar running: the number of the lane's requests in flight.
    :ivar answered: the number of requests that the worker has answered since its start.
    """

    queue: str
    model: str
    type: str
    style: str
    context_window: Optional[int]
    state: str
    reason: str
    running: int
    answered: int


@dataclass(frozen=True)
class RequestReport:
    """A request in flight; ``seconds`` is the time since its start."""

    lane: str
    correlation_id: Optional[str]
    seconds: float


@dataclass(frozen=True)
class WorkerStatus:
    """The state of the worker at one moment. The fields have the order of the document.

    :ivar summary: a line for people.
    :ivar thread_trouble: the helper thread that does not work, with the reason; empty if all work.
    :ivar since: the time of the start, in seconds since 1970.
    """

    summary: str
    thread_trouble: str
    ready: bool
    connected: bool
    blocked: bool
    draining: bool
    ollama_up: bool
    broker: str
    since: float
    slots: int
    held: int
    lanes: tuple[LaneReport, ...]
    in_flight: tuple[RequestReport, ...]
    rates: dict[str, dict[str, Any]]
    counts: Counts

    def document(self) -> dict[str, Any]:
        """Return the state as plain JSON."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "counts"}
        return {
            **named,
            "lanes": [asdict(lane) for lane in self.lanes],
            "in_flight": [asdict(request) for request in self.in_flight],
            "counters": self.counts.document(),
        }
