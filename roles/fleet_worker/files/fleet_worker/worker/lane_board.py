# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lanes of the worker, with one state and one reason for each."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

from .._fleet.errors import BrokerError
from .._fleet.registry import Trouble
from ..amqp.registry_publisher import NO_TROUBLE, UNDECIDED
from ..domain.delivery import LaneSettings
from ..inference.health import OllamaState


class LaneState(enum.Enum):
    """The state of a lane. The worker takes requests only from lanes that are ``SERVEABLE``."""

    SERVEABLE = "serveable"
    #: The worker has no connection to the broker.
    DISCONNECTED = "disconnected"
    #: The broker has not yet answered the declaration of the queue.
    BEING_DECLARED = "being declared"
    #: The broker has refused or deleted the queue.
    REFUSED = "refused"
    #: The broker has ended the connection for the queue, and the worker does not use it for some time.
    BROKEN = "broken"
    #: Ollama has not answered since the start of the worker.
    OLLAMA_UNKNOWN = "Ollama unknown"
    OLLAMA_DOWN = "Ollama down"
    MODEL_MISSING = "model missing"
    #: Ollama has the model, but cannot run it.
    MODEL_BROKEN = "model broken"
    #: Ollama is too busy for the model, and requests for it wait in the worker.
    MODEL_BUSY = "model busy"


#: The registry's name for each state of trouble. The registry does not show the other states.
_TROUBLES = {
    LaneState.REFUSED: "lane_refused",
    LaneState.BROKEN: "lane_refused",
    LaneState.MODEL_BROKEN: "model_broken",
    LaneState.MODEL_MISSING: "model_not_loaded",
    LaneState.OLLAMA_DOWN: "ollama_unavailable",
}


@dataclass(frozen=True)
class LaneStatus:
    """The state of a lane.

    :ivar reason: the reason for people why the worker takes no requests from the lane; empty if it does.
    """

    state: LaneState
    reason: str = ""


SERVEABLE = LaneStatus(LaneState.SERVEABLE)


class LaneBoard:
    """The lanes of one worker.

    :param broken: returns the reason of the circuit breaker's pause of a loaded model; empty without a pause.
    :param busy: returns the reason why requests for a loaded model wait in the worker; empty if none wait.
    """

    def __init__(self, lanes: Iterable[LaneSettings], broken: Callable[[str], str], busy: Callable[[str], str]) -> None:
        self._lanes = {lane.queue: lane for lane in lanes}
        self._broken = broken
        self._busy = busy
        #: The trouble with the broker, by queue. A lane without an entry can be consumed.
        self._at_broker: dict[str, LaneStatus] = {}
        self._ollama: Optional[OllamaState] = None

    @property
    def lanes(self) -> Mapping[str, LaneSettings]:
        """The lanes by queue."""
        return self._lanes

    @property
    def all_declared(self) -> bool:
        """Whether every lane can be consumed, except those for which the broker ends connections."""
        return all(status.state is LaneState.BROKEN for status in self._at_broker.values())

    @property
    def ollama_is_up(self) -> bool:
        return self._ollama is not None and self._ollama.up

    # Findings about lanes

    def assign(self, lanes: Sequence[LaneSettings]) -> tuple[list[LaneSettings], list[LaneSettings]]:
        """Replace the set of lanes; return the new lanes and the removed lanes."""
        before, self._lanes = self._lanes, {lane.queue: lane for lane in lanes}
        self._at_broker = {queue: status for queue, status in self._at_broker.items() if queue in self._lanes}
        return (
            [lane for queue, lane in self._lanes.items() if queue not in before],
            [lane for queue, lane in before.items() if queue not in self._lanes],
        )

    def disconnected(self, lanes: Iterable[LaneSettings], reason: str) -> None:
        """Note that these lanes have no connection to the broker."""
        self._set_at_broker(lanes, LaneState.DISCONNECTED, reason)

    def being_declared(self, lanes: Iterable[LaneSettings]) -> None:
        """Note that the declaration of these lanes has begun."""
        self._set_at_broker(lanes, LaneState.BEING_DECLARED, "being declared")

    def broken(self, lane: LaneSettings, reason: str) -> None:
        """Note that the worker does not use a lane for some time, because the broker has ended connections for it."""
        self._set_at_broker([lane], LaneState.BROKEN, reason)

    def declared(self, results: Mapping[str, Optional[BrokerError]]) -> tuple[list[str], dict[str, BrokerError]]:
        """Note the broker's answers to declarations; return the declared queues, and the errors of the others.

        :param results: ``None`` for a declared queue. Queues of removed lanes are ignored.
        """
        kept = {queue: error for queue, error in results.items() if queue in self._lanes}
        refused = {queue: error for queue, error in kept.items() if error is not None}
        done = [queue for queue, error in kept.items() if error is None]
        for queue, error in refused.items():
            self._at_broker[queue] = LaneStatus(LaneState.REFUSED, str(error))
        for queue in done:
            self._at_broker.pop(queue, None)
        return done, refused

    def lost(self, queue: str, reason: str) -> bool:
        """Note a lost lane; return whether the lane is still wanted and was not lost before."""
        if queue not in self._lanes or queue in self._at_broker:
            return False
        self._at_broker[queue] = LaneStatus(LaneState.REFUSED, reason)
        return True

    def ollama_is(self, state: OllamaState) -> None:
        """Note the state of Ollama."""
        self._ollama = state

    # Lane states

    def status(self, queue: str) -> LaneStatus:
        """Return the state of a lane."""
        if queue in self._at_broker:
            return self._at_broker[queue]
        if self._ollama is None:
            return LaneStatus(LaneState.OLLAMA_UNKNOWN, "Ollama has not answered yet")
        if not self._ollama.up:
            return LaneStatus(LaneState.OLLAMA_DOWN, self._ollama.why_down)
        lane = self._lanes[queue]
        if not self._ollama.has(lane.model_key):
            return LaneStatus(LaneState.MODEL_MISSING, f"Ollama does not have the model {lane.lane.model}")
        broken = self._broken(lane.loaded)
        if broken:
            return LaneStatus(LaneState.MODEL_BROKEN, broken)
        busy = self._busy(lane.loaded)
        return LaneStatus(LaneState.MODEL_BUSY, busy) if busy else SERVEABLE

    def is_degraded(self, queue: str) -> bool:
        """Return whether Ollama cannot run the model of a lane, even if the lane has other trouble, too."""
        return bool(self._broken(self._lanes[queue].loaded))

    def serveable(self) -> list[str]:
        """Return the queues of all serveable lanes."""
        return [queue for queue in self._lanes if self.status(queue).state is LaneState.SERVEABLE]

    def reasons(self) -> Counter[str]:
        """Return the number of paused lanes for each reason."""
        return Counter(status.reason for status in map(self.status, self._lanes) if status.reason)

    def registry_view(self) -> dict[LaneSettings, Optional[Trouble]]:
        """Return the trouble of each lane for the registry."""
        return {lane: self._trouble(self.status(queue)) for queue, lane in self._lanes.items()}

    def _trouble(self, status: LaneStatus) -> Optional[Trouble]:
        if status.state in (LaneState.SERVEABLE, LaneState.MODEL_BUSY):
            return NO_TROUBLE  # a busy model takes more requests soon
        code = _TROUBLES.get(status.state)
        return UNDECIDED if code is None or self._ollama is None else Trouble(code, status.reason)

    def _set_at_broker(self, lanes: Iterable[LaneSettings], state: LaneState, reason: str) -> None:
        self._at_broker.update({lane.queue: LaneStatus(state, reason) for lane in lanes})
