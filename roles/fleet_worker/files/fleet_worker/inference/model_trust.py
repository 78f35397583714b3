# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The trust in each model of Ollama, from the results of requests and of probes.

A model may run with a small context window, and need too much memory with a large one. So each context window counts
as a model of its own.

Everything here runs on the I/O thread, except the probe, which waits for Ollama in a separate thread.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any, Callable

from .._ollama.text import printable
from ..domain.delivery import LaneSettings
from ..domain.verdicts import Result
from ..logs.defects import contained
from ..logs.log import Log
from ..observe.counts import CountedEvent
from .circuit_breaker import CircuitBreaker
from .probe import Finding, Probed

LOG = Log()


class ModelTrust:
    """Reports results to the circuit breaker, and probes a model when the breaker needs a probe.

    :param loop: the loop of the I/O thread.
    :param probe: finds out whether Ollama runs the model of a lane; may wait.
    :param count: counts probes and pauses.
    :param changed: called at the beginning and at the end of a model's pause.
    """

    def __init__(
        self,
        loop: Any,
        breaker: CircuitBreaker,
        probe: Callable[[LaneSettings], Probed],
        count: Callable[[CountedEvent], None],
        changed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._breaker = breaker
        self._probe = probe
        self._count = count
        self._changed = changed

    def reason(self, model: str) -> str:
        """Return the reason of a model's pause; empty without a pause.

        :param model: the loaded model (:attr:`LaneSettings.loaded`).
        """
        return self._breaker.reason(model, time.monotonic())

    def judge(self, lane: LaneSettings, result: Result) -> None:
        """Learn from the result of a lane's request."""
        model = lane.loaded
        if result.is_answer:
            self._reset(lane)
        elif result.broken and self._breaker.failed(model, result.broken, time.monotonic()):
            self._count(CountedEvent.PROBES)
            LOG.info("model_probed", model=lane.lane.model, error=printable(result.broken))
            try:
                threading.Thread(target=self._run_probe, args=(lane,), name="probe", daemon=True).start()
            except RuntimeError as error:  # no more threads
                self._record_finding(lane, Probed(Finding.UNKNOWN, str(error)))

    def _reset(self, lane: LaneSettings) -> None:
        """Reset a model that Ollama runs, and end its pause."""
        if self._breaker.succeeded(lane.loaded):
            LOG.info("model_recovered", model=lane.lane.model)
            self._changed()

    def _run_probe(self, lane: LaneSettings) -> None:
        """Run a probe, in a separate thread."""
        # Without a finding after a defect, the breaker would wait for ever.
        probed = contained(
            lambda: self._probe(lane),
            lambda error: Probed(Finding.UNKNOWN, f"the probe failed: {type(error).__name__}"),
        )
        self._loop.add_callback_threadsafe(partial(self._record_finding, lane, probed))

    def _record_finding(self, lane: LaneSettings, probed: Probed) -> None:
        model, name = lane.loaded, lane.lane.model
        if probed.finding is not Finding.FAILS:
            if probed.finding is Finding.RUNS:
                self._reset(lane)
            else:
                self._breaker.unconfirmed(model)
            LOG.info("model_not_given_up", model=name, probe=probed.finding.value, error=printable(probed.reason))
            return
        seconds = self._breaker.confirmed(model, printable(probed.reason), time.monotonic())
        if seconds is not None:
            LOG.warning("model_broken", model=name, pause=seconds, error=printable(probed.reason))
            self._count(CountedEvent.MODEL_PAUSES)
            self._loop.call_later(seconds + 0.01, self._changed)
            self._changed()
