# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The slots of the worker: how many requests each model runs, and whether it may run one more."""

from __future__ import annotations

from collections import Counter
from typing import Optional

from ..domain.lane_rule import ALONE
from .held_requests import HeldRequest, HeldRequests
from .lanes import LaneEntry


class Slots:
    """The slots of all models.

    :ivar number: the most requests that run at the same time.
    :ivar taken: the number of taken slots.
    :ivar blocked: whether no request may start, because the broker blocks answers.
    :ivar last_model: the model of the request that started last.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.blocked = False
        self.last_model: Optional[str] = None
        self.taken = 0
        self._running: Counter[str] = Counter()
        #: The models that run one request alone, with the end of that time; the models with a request that waits to run
        #: alone.
        self._runs_alone: dict[str, float] = {}
        self._wants_alone: set[str] = set()

    @property
    def free(self) -> int:
        """The number of free slots."""
        return 0 if self.blocked else self.number - self.taken

    @property
    def anybody_alone(self) -> bool:
        """Whether any request runs alone, or waits to run alone."""
        return bool(self._wants_alone or self._runs_alone)

    def running(self, model: str) -> int:
        """Return the number of slots that a model has taken."""
        return self._running[model]

    def full(self, lane: LaneEntry) -> bool:
        """Whether the model of a lane has taken all of its slots."""
        model = lane.rule.model
        if model in self._wants_alone or model in self._runs_alone:
            return True
        return lane.rule.limit is not None and self._running[model] >= lane.rule.limit

    def may_start(self, held: HeldRequest) -> bool:
        """Whether the model of a request has room for the request."""
        return not self._running[held.lane.rule.model] if held.alone_until else not self.full(held.lane)

    def start(self, held: HeldRequest, now: float) -> None:
        """Take a slot for a request, or for a batch that begins with this request."""
        self.last_model = held.lane.rule.model
        self._running[self.last_model] += 1
        self._count()
        if held.alone_until:
            self._runs_alone[self.last_model] = now + ALONE

    def finish(self, model: str) -> None:
        """Free a slot."""
        self._running[model] -= 1
        self._running += Counter()  # drop zero counts
        self._count()
        self._runs_alone.pop(model, None)

    def _count(self) -> None:
        # A stored number, because it is read ten times as often as it changes.
        self.taken = sum(self._running.values())

    def note_alone(self, held: HeldRequests, now: float) -> None:
        """Update the models with a request that runs alone or waits to; drop the models whose time has ended."""
        self._runs_alone = {model: until for model, until in self._runs_alone.items() if now < until}
        held.end_waits_to_be_alone(now)
        self.note_waits(held)

    def note_waits(self, held: HeldRequests) -> None:
        """Update the models with a request that waits to run alone."""
        self._wants_alone = held.models_to_be_alone()

    def alone_ends(self, held: HeldRequests) -> list[float]:
        """Return the times when requests stop running alone, or stop waiting to."""
        waits = [each.alone_until for each in held if each.alone_until] if self._wants_alone else []
        return [*self._runs_alone.values(), *waits]
