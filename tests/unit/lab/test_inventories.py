# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The labs of all scenarios can be up at the same time, and each step of a scenario has a playbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

SCENARIOS = Path(__file__).resolve().parents[3] / "extensions/molecule"


def test_labs_have_names_and_networks_of_their_own() -> None:
    inventories = {path: path.read_text() for path in SCENARIOS.glob("*/inventory/hosts.yml")}
    names = [re.findall(r"^    lab_name: (\w+)$", text, re.MULTILINE) for text in inventories.values()]
    networks = [re.findall(r"default\('([0-9.]+)', true\)", text) for text in inventories.values()]
    for found in (names, networks):
        single = [one for (one,) in found]
        assert len(single) > 5
        assert len(set(single)) == len(single), sorted(single)


@pytest.mark.parametrize("scenario", sorted(path.parent.name for path in SCENARIOS.glob("*/molecule.yml")))
def test_each_step_of_a_scenario_has_a_playbook(scenario: str) -> None:
    """Molecule skips a step without a playbook, and counts the scenario as successful."""
    base, own = (
        yaml.safe_load(path.read_text()) for path in (SCENARIOS / "base.yml", SCENARIOS / scenario / "molecule.yml")
    )
    playbooks = {**base["provisioner"]["playbooks"], **own.get("provisioner", {}).get("playbooks", {})}
    for step in own["scenario"]["test_sequence"]:
        verb, _space, chosen = step.partition(" ")
        if verb not in ("syntax", "idempotence"):
            assert verb in playbooks, step
            assert (SCENARIOS / scenario / (chosen or playbooks[verb])).is_file(), step
