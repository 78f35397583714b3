# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of lanes: the documentation of the role names those of the configuration, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from fleet_worker.settings.config import AutoLanesConfig, LaneConfig

ROLE = Path(__file__).resolve().parents[5] / "roles/fleet_worker"
#: Settings of automatic lanes that have a variable each.
VARIABLES = {"allow", "deny", "styles"}


def documented_keys(option: str) -> list[str]:
    """Return the words in ``C()`` of the paragraph that lists the keys of an option."""
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
    paragraphs = specs["main"]["options"][option]["description"]
    (listing,) = [paragraph for paragraph in paragraphs if paragraph.startswith("Keys: ")]
    return re.findall(r"C\((\w+)\)", listing)


@pytest.mark.parametrize(
    "option, fields",
    [
        ("fleet_worker_lanes", set(LaneConfig.model_fields)),
        ("fleet_worker_auto_lanes_settings", set(AutoLanesConfig.model_fields) - VARIABLES),
    ],
)
def test_reference_names_each_setting_of_a_lane_once(option: str, fields: set[str]) -> None:
    assert sorted(documented_keys(option)) == sorted(fields)


def test_page_of_the_role_names_each_setting_of_a_lane() -> None:
    page = (ROLE / "README.md").read_text()
    (listing,) = re.findall(r"^A lane has .*?\.(?=\s)", page, re.DOTALL | re.MULTILINE)
    without_values = re.sub(r"\([^)]*\)", "", listing)
    assert sorted(re.findall(r"`(\w+)`", without_values)) == sorted(LaneConfig.model_fields)
