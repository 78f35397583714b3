# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests that have given their slots up because Ollama was too busy, until they are answered.

While a request for a model waits here, the worker takes no other request for that model. Another request would have to
wait, too, and another node may have room.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

from typing import Any, Callable

from .._ollama.text import printable
from ..inference.tries import Later


class WaitingRoom:
    """The waiting requests.

    :param loop: the loop of the I/O thread.
    :param over: called with a request at the end of its pause.
    :param changed: called after a change of the set of models with waiting requests.
    """

    def __init__(self, loop: Any, over: Callable[[Any], None], changed: Callable[[], None]) -> None:
        self._loop = loop
        self._over = over
        self._changed = changed
        #: The model and the reason of each request, also during its next attempt.
        self._waiting: dict[Any, tuple[str, str]] = {}
        self._timers: dict[Any, Any] = {}

    def admit(self, job: Any, model: str, later: Later) -> None:
        """Add a request.

        :param model: the loaded model (:attr:`LaneSettings.loaded`).
        """
        before = self._models()
        self._waiting[job] = (model, later.reason)
        self._timers[job] = self._loop.call_later(later.seconds, lambda: self._pause_over(job))
        self._compare(before)

    def leave(self, job: Any) -> None:
        """Remove an answered or returned request. A request that never waited may leave, too."""
        if job in self._waiting:
            before = self._models()
            del self._waiting[job]
            timer = self._timers.pop(job, None)
            if timer is not None:
                self._loop.remove_timeout(timer)
            self._compare(before)

    def reason(self, model: str) -> str:
        """Return the reason why requests for a model wait; empty if none wait."""
        if not self._waiting:
            return ""
        found = next((reason for waits_for, reason in self._waiting.values() if waits_for == model), "")
        return f"Ollama is busy: {printable(found)}" if found else ""

    def pausing(self) -> list[Any]:
        """Return the requests in their pause."""
        return list(self._timers)

    def _pause_over(self, job: Any) -> None:
        if self._timers.pop(job, None) is not None:
            self._over(job)

    def _models(self) -> set[str]:
        return {model for model, _reason in self._waiting.values()}

    def _compare(self, before: set[str]) -> None:
        if self._models() != before:
            self._changed()
