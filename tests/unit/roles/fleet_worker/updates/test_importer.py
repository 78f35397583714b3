# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node does with a broadcast."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fleet_worker._fleet.broadcasts import FAILED, IMPORT, PLAN, Order
from fleet_worker._mirror.models.signature_check import ModelUnsignedError
from fleet_worker._mirror.signing.policy import SignaturePolicy
from fleet_worker._ollama.store import StoreSettings
from fleet_worker.updates import importer


@pytest.mark.parametrize("leaving, logged", [(False, "defect"), (True, "update_broken_off")])
def test_updates_with_an_exception_report_it_and_log_a_defect_unless_they_leave(
    leaving: bool, logged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def note(event: str, **_fields: Any) -> None:
        events.append(event)

    def broken(_settings: Any) -> Any:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(importer, "LOG", SimpleNamespace(info=note, exception=note))
    monkeypatch.setattr(importer, "Store", broken)
    nothing: Any = None
    updates = importer.BroadcastImporter("gpu-01", nothing, nothing, ("smollm2:135m",))
    if leaving:
        updates.leave()
    assert updates.carry_out(Order(PLAN, "smollm2:135m")).state == FAILED
    assert events == [logged]


def test_updates_demand_signatures_before_they_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    steps: list[Any] = []

    class Importer:
        def __init__(self, *_parts: Any, **_options: Any) -> None:
            pass

        def demand_signatures(self, policy: SignaturePolicy) -> None:
            steps.append(policy)

        def plan(self) -> Any:
            steps.append("plan")
            raise ModelUnsignedError("it has no signature")

    monkeypatch.setattr(importer, "ModelImport", Importer)
    monkeypatch.setattr(importer, "Mirror", lambda _settings: None)
    policy = SignaturePolicy()
    mirror: Any = None
    updates = importer.BroadcastImporter("gpu-01", mirror, StoreSettings(str(tmp_path)), ("*",), signatures=policy)
    report = updates.carry_out(Order(IMPORT, "smollm2:135m"))
    assert steps == [policy, "plan"]
    assert report.state == FAILED and report.error["code"] == "model_unsigned"
