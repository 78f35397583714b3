# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/reference.md has each exit code, each state of a lane and each class of trouble that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import rules

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/reference.md").read_text()


def section(heading: str) -> str:
    """Return the text below a heading of the page."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("daemon", rules.DAEMON_ROOMS)
def test_page_has_the_exit_codes(daemon: str) -> None:
    text = (ROOT / daemon / "exit_codes.py").read_text()
    codes = {int(code) for code in re.findall(r"^EXIT_\w+ = (\d+)$", text, re.MULTILINE)}
    assert codes
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)} == codes | {0}


def test_page_has_the_states_of_the_metric() -> None:
    text = (ROOT / rules.DAEMON / "observe/metrics.py").read_text()
    (listed,) = re.findall(r'"fleet_worker_lanes".*?for name in \(([^)]*)\)', text, re.DOTALL)
    assert re.findall(r"^\| `(\w+)` \|", section("Lane states"), re.MULTILINE) == re.findall(r"\w+", listed)


def test_page_has_the_trouble_of_the_registry() -> None:
    text = (ROOT / rules.DAEMON / "worker/lane_board.py").read_text()
    classes = re.findall(r'^    LaneState\.\w+: "(\w+)",$', text, re.MULTILINE)
    assert classes
    assert sorted(re.findall(r"\| `(\w+)` \|$", section("Lane states"), re.MULTILINE)) == sorted(classes)
