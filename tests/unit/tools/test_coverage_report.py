# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of coverage counts by room, and fails a room that has too little."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import coverage_report
import pytest


def entry(statements: int, missing: int) -> dict[str, Any]:
    return {"summary": {"num_statements": statements, "missing_lines": missing}}


FILES = {
    "plugins/module_utils/_fleet/lanes.py": entry(90, 0),
    "plugins/module_utils/_fleet/dialects/plain.py": entry(10, 10),
    "plugins/module_utils/_mirror/__init__.py": entry(0, 0),
    "roles/fleet_worker/files/fleet_worker/cli.py": entry(100, 16),
    "tests/unit/test_x.py": entry(10, 10),
}


def test_rooms_count_what_their_files_have() -> None:
    fleet, daemon = coverage_report.rooms({"files": FILES})
    assert (fleet.name, fleet.share) == ("_fleet", 90.0)
    assert fleet.missing == {"plugins/module_utils/_fleet/dialects/plain.py": 10}
    assert (daemon.name, daemon.share) == ("fleet_worker", 84.0)


@pytest.mark.parametrize("missing, code", [(16, 1), (15, 0)])
def test_main_fails_below_the_limit_and_names_the_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: int,
    code: int,
) -> None:
    files = {**FILES, "roles/fleet_worker/files/fleet_worker/cli.py": entry(100, missing)}
    (tmp_path / "coverage.json").write_text(json.dumps({"files": files}))
    monkeypatch.setattr(sys, "argv", ["coverage_report.py", str(tmp_path / "coverage.json")])
    assert coverage_report.main() == code
    printed = capsys.readouterr().out
    assert "COVERAGE _fleet          90.0 %" in printed
    assert ("fleet_worker/cli.py (16)" in printed) == (code == 1)
