# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that Ollama has and cannot run: too large for the memory, damaged, of a format that it does not know yet.

Each of their requests would cost a failed load and fail, also where another node could answer it. So after some
failures in a row a probe finds out whether Ollama can run the model at all (``probe.py``). If Ollama cannot, the lanes
of the model are paused; if it can, the requests are what failed, and the lanes stay. When the pause is over they are
served again; the next failure is enough for a probe, and for a pause twice as long. A success forgets everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class BreakerSettings:
    """When a model is given up, and for how long.

    :ivar failures: in a row, after which a model is paused.
    :ivar pause: seconds of the first pause.
    :ivar longest: seconds of a pause, at most.
    """

    failures: int
    pause: float
    longest: float


@dataclass
class _ModelFailures:
    failures: int = 0
    pauses: int = 0
    until: float = 0.0
    reason: str = ""
    #: Whether a probe is under way.
    probing: bool = False


class CircuitBreaker:
    """Keeps count of the models of one Ollama. For one thread.

    Times are seconds of any clock that only goes forward.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._models: dict[str, _ModelFailures] = {}

    def failed(self, model: str, reason: str, now: float) -> bool:
        """Count a failure to run a model. Return whether a probe has to find out more."""
        state = self._models.setdefault(model, _ModelFailures())
        state.failures += 1
        state.reason = reason
        if state.probing or now < state.until or (state.failures < self._settings.failures and not state.pauses):
            return False  # also what was started before a pause and ends in it
        state.probing = True
        return True

    def confirmed(self, model: str, reason: str, now: float) -> Optional[float]:
        """The probe has failed, too. Return the seconds of the pause that begins; None when a request was answered."""
        state = self._models.get(model)
        if state is None or not state.probing:
            return None
        state.probing = False
        state.reason = reason
        seconds = min(self._settings.longest, self._settings.pause * 2.0 ** min(state.pauses, 20))
        state.pauses += 1
        state.until = now + seconds
        return seconds

    def unconfirmed(self, model: str) -> None:
        """The probe was inconclusive: count from zero again."""
        state = self._models.get(model)
        if state is not None:
            state.probing, state.failures = False, 0

    def succeeded(self, model: str) -> bool:
        """Ollama has run a model. Return whether the model was paused before."""
        state = self._models.pop(model, None)
        return state is not None and state.pauses > 0

    def reason(self, model: str, now: float) -> str:
        """Say why a model is paused; empty when it is not."""
        state = self._models.get(model)
        if state is None or now >= state.until:
            return ""
        return f"Ollama has failed {state.failures} times to run the model; tried again after a pause: {state.reason}"
