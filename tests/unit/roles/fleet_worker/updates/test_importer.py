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
from fleet_worker._mirror.models.import_report import ImportReport
from fleet_worker._mirror.models.model_removal import Removal
from fleet_worker._mirror.models.plan import ModelChange, Plan
from fleet_worker._mirror.models.signature_check import ModelUnsignedError
from fleet_worker._mirror.signing.policy import SignaturePolicy
from fleet_worker._mirror.transfer.options import TransferOptions
from fleet_worker._ollama.byte_counter import ByteCounter
from fleet_worker._ollama.names import ModelName
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


def test_report_names_peers_that_went_wrong_before_those_that_gave_most(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    peers = [{"peer": f"gpu-{number}", "bytes": 100 - number, "state": "good"} for number in range(50)]
    peers.append({"peer": "liar", "bytes": 0, "state": "lied"})

    class Importer:
        report = ImportReport(bytes_from_neighbours=7, neighbours=peers)

        def __init__(self, *_parts: Any, counter: ByteCounter, **_options: Any) -> None:
            self._counter = counter

        def demand_signatures(self, _policy: SignaturePolicy) -> None:
            pass

        def plan(self) -> Plan:
            self._counter.expect("m", 2_000_000)
            self._counter.add(1_500_000, from_neighbour=True)
            return Plan((ModelChange(ModelName.parse("m"), None, None),))

        def remember(self) -> None:
            pass

    monkeypatch.setattr(importer, "ModelImport", Importer)
    monkeypatch.setattr(importer, "Mirror", lambda _settings: SimpleNamespace(remarks=[]))
    mirror: Any = None
    updates = importer.BroadcastImporter("gpu-01", mirror, StoreSettings(str(tmp_path)), ("*",), TransferOptions())
    assert updates.progress == ""
    result = updates.carry_out(Order(IMPORT, "m")).result
    assert result["bytes_from_peers"] == 7
    assert [peer["peer"] for peer in result["peers"]] == ["liar", *(f"gpu-{number}" for number in range(19))]
    assert updates.progress == "1.5 MB of 2.0 MB, 1.5 MB from neighbours"


def test_warnings_of_the_plan_the_import_its_removals_and_the_mirror_are_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logged: list[str] = []

    class Importer:
        report = ImportReport(warnings=["import"], removal=Removal(warnings=["removal"]))

        def __init__(self, *_parts: Any, **_options: Any) -> None:
            pass

        def demand_signatures(self, _policy: SignaturePolicy) -> None:
            pass

        def plan(self) -> Plan:
            return Plan((ModelChange(ModelName.parse("m"), None, None),), warnings=("plan",))

        def remember(self) -> None:
            pass

    def note(_event: str, *, warning: str = "", **_fields: Any) -> None:
        logged.append(warning)

    monkeypatch.setattr(importer, "LOG", SimpleNamespace(info=lambda _event, **_fields: None, warning=note))
    monkeypatch.setattr(importer, "ModelImport", Importer)
    monkeypatch.setattr(importer, "Mirror", lambda _settings: SimpleNamespace(remarks=["mirror"]))
    mirror: Any = None
    importer.BroadcastImporter("gpu-01", mirror, StoreSettings(str(tmp_path)), ("*",)).carry_out(Order(IMPORT, "m"))
    assert logged == ["plan", "import", "removal", "mirror"]
