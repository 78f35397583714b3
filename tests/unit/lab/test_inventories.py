# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The labs of all scenarios can be up at the same time."""

from __future__ import annotations

import re
from pathlib import Path

SCENARIOS = Path(__file__).resolve().parents[3] / "extensions/molecule"


def test_labs_have_names_and_networks_of_their_own() -> None:
    inventories = {path: path.read_text() for path in SCENARIOS.glob("*/inventory/hosts.yml")}
    names = [re.findall(r"^    lab_name: (\w+)$", text, re.MULTILINE) for text in inventories.values()]
    networks = [re.findall(r"default\('([0-9.]+)', true\)", text) for text in inventories.values()]
    for found in (names, networks):
        single = [one for (one,) in found]
        assert len(single) > 5
        assert len(set(single)) == len(single), sorted(single)
