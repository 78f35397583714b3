# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the metadata of the roles promises, a scenario of Molecule tries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def images(host: Any) -> set[str]:
    """Return the images of the hosts of an inventory."""
    if not isinstance(host, dict):
        return set()
    own = {host["lab_image"]} if "lab_image" in host else set()
    return own.union(*(images(one) for one in host.values()))


@pytest.mark.parametrize("role", ROLES)
def test_platforms_of_a_role_are_tried(role: str) -> None:
    inventory = yaml.safe_load((ROOT / "extensions/molecule/distros/inventory/hosts.yml").read_text())
    tried = {image.removeprefix("node-") for image in images(inventory["all"])}
    platforms = yaml.safe_load((ROOT / "roles" / role / "meta/main.yml").read_text())["galaxy_info"]["platforms"]
    assert [platform["name"] for platform in platforms] == ["Debian"]
    assert set(platforms[0]["versions"]) <= tried
