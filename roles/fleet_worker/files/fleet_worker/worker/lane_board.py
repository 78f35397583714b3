# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lanes the worker has, and how each of them is: one state, and one reason."""

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
    """How a lane is. Requests are taken from a lane that is ``SERVEABLE``, and from no other."""

    SERVEABLE = "serveable"
    #: There is no connection to the broker.
    DISCONNECTED = "disconnected"
    #: The broker was asked for the queue, and has not answered.
    BEING_DECLARED = "being declared"
    #: The broker refuses the queue, or has taken it away.
    REFUSED = "refused"
    #: Ollama has not answered since the worker was started.
    OLLAMA_UNKNOWN = "Ollama unknown"
    OLLAMA_DOWN = "Ollama down"
    MODEL_MISSING = "model missing"
    #: Ollama has the model, and cannot run it.
    MODEL_BROKEN = "model broken"
    #: Ollama has more requests for the model than it takes; those that wait here go first.
    MODEL_BUSY = "model busy"


#: The registry's name for each state of trouble. A state that is missing here is not published.
_TROUBLES = {
    LaneState.REFUSED: "lane_refused",
    LaneState.MODEL_BROKEN: "model_broken",
    LaneState.MODEL_MISSING: "model_not_loaded",
    LaneState.OLLAMA_DOWN: "ollama_unavailable",
}


@dataclass(frozen=True)
class LaneStatus:
    """How a lane is.

    :ivar reason: why no requests are taken from it, for people; empty when they are.
    """

    state: LaneState
    reason: str = ""


SERVEABLE = LaneStatus(LaneState.SERVEABLE)


class LaneBoard:
    """The lanes of one worker.

    :param broken: says why the model of this key is given up for now; empty when it is not.
    :param busy: says why no more requests of the model of this key are taken; empty when they are.
    """

    def __init__(self, lanes: Iterable[LaneSettings], broken: Callable[[str], str], busy: Callable[[str], str]) -> None:
        self._lanes = {lane.queue: lane for lane in lanes}
        self._broken = broken
        self._busy = busy
        #: What keeps the broker from giving us requests of a lane; a lane that is missing here can be consumed.
        self._at_broker: dict[str, LaneStatus] = {}
        self._ollama: Optional[OllamaState] = None

    @property
    def lanes(self) -> Mapping[str, LaneSettings]:
        """The lanes by their queues."""
        return self._lanes

    @property
    def all_declared(self) -> bool:
        """Whether the broker lets us consume every lane."""
        return not self._at_broker

    @property
    def ollama_is_up(self) -> bool:
        return self._ollama is not None and self._ollama.up

    # Findings about lanes

    def assign(self, lanes: Sequence[LaneSettings]) -> tuple[list[LaneSettings], list[LaneSettings]]:
        """Have exactly these lanes; return those that are new, and those that have gone."""
        before, self._lanes = self._lanes, {lane.queue: lane for lane in lanes}
        self._at_broker = {queue: status for queue, status in self._at_broker.items() if queue in self._lanes}
        return (
            [lane for queue, lane in self._lanes.items() if queue not in before],
            [lane for queue, lane in before.items() if queue not in self._lanes],
        )

    def disconnected(self, lanes: Iterable[LaneSettings], reason: str) -> None:
        """There is no connection that these lanes could be consumed over."""
        self._set_at_broker(lanes, LaneState.DISCONNECTED, reason)

    def being_declared(self, lanes: Iterable[LaneSettings]) -> None:
        """The broker has been asked for these lanes."""
        self._set_at_broker(lanes, LaneState.BEING_DECLARED, "being declared")

    def declared(self, results: Mapping[str, Optional[BrokerError]]) -> tuple[list[str], dict[str, BrokerError]]:
        """The broker has answered for these queues; return those that are declared, and why the others are refused.

        :param results: None for a queue that is declared. Queues of lanes that have gone are passed over.
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
        """The broker has taken a lane away; return whether that is news of a lane that is still wanted."""
        if queue not in self._lanes or queue in self._at_broker:
            return False
        self._at_broker[queue] = LaneStatus(LaneState.REFUSED, reason)
        return True

    def ollama_is(self, state: OllamaState) -> None:
        """Ollama was asked how it is."""
        self._ollama = state

    # Lane states

    def status(self, queue: str) -> LaneStatus:
        """Return how a lane is."""
        if queue in self._at_broker:
            return self._at_broker[queue]
        if self._ollama is None:
            return LaneStatus(LaneState.OLLAMA_UNKNOWN, "Ollama has not answered yet")
        if not self._ollama.up:
            return LaneStatus(LaneState.OLLAMA_DOWN, self._ollama.why_down)
        lane = self._lanes[queue]
        if not self._ollama.has(lane.model_key):
            return LaneStatus(LaneState.MODEL_MISSING, f"Ollama does not have the model {lane.lane.model}")
        broken = self._broken(lane.model_key)
        if broken:
            return LaneStatus(LaneState.MODEL_BROKEN, broken)
        busy = self._busy(lane.model_key)
        return LaneStatus(LaneState.MODEL_BUSY, busy) if busy else SERVEABLE

    def is_degraded(self, queue: str) -> bool:
        """Whether Ollama cannot run the model of a lane, whatever else is wrong with the lane."""
        return bool(self._broken(self._lanes[queue].model_key))

    def serveable(self) -> list[str]:
        """Return the queues that requests can be taken from."""
        return [queue for queue in self._lanes if self.status(queue).state is LaneState.SERVEABLE]

    def reasons(self) -> Counter[str]:
        """Return why lanes are paused, and how many of them for each reason."""
        return Counter(status.reason for status in map(self.status, self._lanes) if status.reason)

    def registry_view(self) -> dict[LaneSettings, Optional[Trouble]]:
        """Return how the lanes are for the registry."""
        return {lane: self._trouble(self.status(queue)) for queue, lane in self._lanes.items()}

    def _trouble(self, status: LaneStatus) -> Optional[Trouble]:
        if status.state in (LaneState.SERVEABLE, LaneState.MODEL_BUSY):
            return NO_TROUBLE  # one that is busy takes more requests in a moment
        code = _TROUBLES.get(status.state)
        return UNDECIDED if code is None or self._ollama is None else Trouble(code, status.reason)

    def _set_at_broker(self, lanes: Iterable[LaneSettings], state: LaneState, reason: str) -> None:
        self._at_broker.update({lane.queue: LaneStatus(state, reason) for lane in lanes})
