# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions of many nodes together, in the simulation of tests/bench: what the mirror gives, and when all end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[5]


@pytest.mark.parametrize(
    "options, egress, ratio",
    [
        (["--nodes", "1", "--blob", "16M"], 1.0, 1.6),
        (["--nodes", "20", "--blob", "256M"], 1.1, 1.3),
        (["--nodes", "20", "--blob", "256M", "--mirror", "400"], 1.1, 1.2),
        (["--nodes", "20", "--blob", "4G", "--rate", "1000", "--mirror", "10000"], 1.1, 1.4),
    ],
)
def test_simulated_fleet_ends_within_the_goals(options: list[str], egress: float, ratio: float) -> None:
    command = [sys.executable, str(TESTS / "bench/simulate_neighbours.py"), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    assert found["egress"] <= egress and found["ratio"] <= ratio, found
