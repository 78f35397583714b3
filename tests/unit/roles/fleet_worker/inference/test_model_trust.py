# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker's trust in models: lost only when a probe fails, too, and won back by an answer."""

from __future__ import annotations

import threading
from collections import Counter
from types import SimpleNamespace

import pytest
from fleet_worker.domain.delivery import LaneSettings
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.inference.circuit_breaker import BreakerSettings, CircuitBreaker
from fleet_worker.inference.model_trust import ModelTrust
from fleet_worker.inference.probe import Finding, Probed
from fleet_worker.observe.counts import CountedEvent

from ..deliveries import lane_settings

LANE = lane_settings()


class Court:
    """What a worker's trust in models comes to, with a probe that ends at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, probed: Probed) -> None:
        self.counts: Counter[CountedEvent] = Counter()
        self.changes = 0
        loop = SimpleNamespace(add_callback_threadsafe=lambda callback: callback(), call_later=lambda *_: None)
        monkeypatch.setattr(
            "fleet_worker.inference.model_trust.threading.Thread",
            lambda target, args, **_options: SimpleNamespace(start=lambda: target(*args)),
        )
        self.trust = ModelTrust(
            loop, CircuitBreaker(BreakerSettings(3, 30.0, 600.0)), lambda _lane: probed, self._count, self._changed
        )

    def _count(self, event: CountedEvent) -> None:
        self.counts[event] += 1

    def _changed(self) -> None:
        self.changes += 1

    def judge(self, outcome: str, broken: str = "", times: int = 1, lane: LaneSettings = LANE) -> None:
        for _time in range(times):
            self.trust.judge(lane, Result(Verdict.ACK, outcome, broken=broken))


def test_model_trust_with_a_probe_that_is_answered_pauses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    court = Court(monkeypatch, Probed(Finding.RUNS))
    court.judge("inference_failed", "odd", times=7)
    assert court.counts == {CountedEvent.PROBES: 2}
    assert court.trust.reason(LANE.loaded) == ""
    assert court.changes == 0


def test_model_trust_with_a_probe_that_fails_pauses_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    court = Court(monkeypatch, Probed(Finding.FAILS, "no memory\n"))
    court.judge("inference_failed", "odd", times=3)
    assert court.counts == {CountedEvent.PROBES: 1, CountedEvent.MODEL_PAUSES: 1}
    reason = court.trust.reason(LANE.loaded)
    assert "no memory\\n" in reason
    assert court.changes == 1
    court.judge("answered")
    assert court.trust.reason(LANE.loaded) == ""
    assert court.changes == 2, "the pause has ended"
    court.judge("answered")
    assert court.changes == 2


def test_model_trust_with_a_probe_that_is_answered_after_a_pause_resets_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    court = Court(monkeypatch, Probed(Finding.FAILS))
    court.judge("inference_failed", "odd", times=3)
    monkeypatch.setattr("fleet_worker.inference.model_trust.time.monotonic", lambda: 10.0**9)
    court.trust._probe = lambda _lane: Probed(Finding.RUNS)
    court.judge("inference_failed", "odd")
    assert court.counts[CountedEvent.PROBES] == 2, "after a pause, one failure is enough"
    assert court.changes == 2


def test_model_trust_in_a_large_context_window_is_not_that_in_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (lane_settings(style="shared", context_window=window) for window in (4096, 131072))
    court = Court(monkeypatch, Probed(Finding.FAILS, "no memory"))
    for _time in range(2):
        court.judge("inference_failed", "odd", times=2, lane=large)
        court.judge("answered", lane=small)
    assert court.trust.reason(large.loaded) and not court.trust.reason(small.loaded)


def test_model_trust_with_failures_that_are_the_requests_own_probes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    court = Court(monkeypatch, Probed(Finding.FAILS))
    court.judge("inference_failed", times=10)
    assert court.counts == {}


def test_model_trust_with_a_probe_that_raises_pauses_nothing_and_probes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    court = Court(monkeypatch, Probed(Finding.RUNS))

    def broken(_lane: object) -> Probed:
        raise ValueError("a defect")

    court.trust._probe = broken
    court.judge("inference_failed", "odd", times=7)
    assert court.counts[CountedEvent.MODEL_PAUSES] == 0
    assert court.counts[CountedEvent.PROBES] >= 2


def test_model_trust_without_a_thread_for_the_probe_pauses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    court = Court(monkeypatch, Probed(Finding.FAILS))

    def no_more(*_arguments: object, **_options: object) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("fleet_worker.inference.model_trust.threading.Thread", no_more)
    court.judge("inference_failed", "odd", times=7)
    assert court.counts == {CountedEvent.PROBES: 2}
    assert court.changes == 0
