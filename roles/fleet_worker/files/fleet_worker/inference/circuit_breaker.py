# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The circuit breaker for models that Ollama has but cannot run: too large, damaged, or of an unknown format.

Each request for such a model would cost a failed load, and would fail although another node may be able to answer. So
after some failures in a row, a probe finds out whether Ollama can run the model at all (``probe.py``). If not, the
worker pauses the lanes of the model. If so, the requests were the reason, and the lanes stay open. After a pause the
worker serves the lanes again. Then one more failure is enough for another probe, and for a pause twice as long. A
success resets the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class BreakerSettings:
    """When and for how long the breaker pauses a model.

    :ivar failures: the number of failures in a row that leads to a probe.
    :ivar pause: the seconds of the first pause.
    :ivar longest: the most seconds of a pause.
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
    #: Whether a probe runs.
    probing: bool = False


class CircuitBreaker:
    """Counts the failures of each model of one Ollama. For one thread.

    Times are seconds of a monotonic clock.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._models: dict[str, _ModelFailures] = {}

    def failed(self, model: str, reason: str, now: float) -> bool:
        """Count a failure of a model. Return whether a probe is needed."""
        state = self._models.setdefault(model, _ModelFailures())
        state.failures += 1
        state.reason = reason
        if state.probing or now < state.until or (state.failures < self._settings.failures and not state.pauses):
            return False  # also for requests that began before the pause and fail during it
        state.probing = True
        return True

    def confirmed(self, model: str, reason: str, now: float) -> Optional[float]:
        """Pause a model whose probe has failed. Return the seconds; ``None`` if a request succeeded meanwhile."""
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
        """Count from zero again after a probe without a finding."""
        state = self._models.get(model)
        if state is not None:
            state.probing, state.failures = False, 0

    def succeeded(self, model: str) -> bool:
        """Reset a model that has answered. Return whether the model was paused."""
        state = self._models.pop(model, None)
        return state is not None and state.pauses > 0

    def reason(self, model: str, now: float) -> str:
        """Return the reason of a model's pause; empty without a pause."""
        state = self._models.get(model)
        if state is None or now >= state.until:
            return ""
        return f"Ollama has failed {state.failures} times to run the model; tried again after a pause: {state.reason}"
