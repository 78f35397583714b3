# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists of rooms in docs/architecture.md have a line for each folder, no line for anything else, and the order of
the imports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import rules

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/architecture.md").read_text()

#: The folders whose own folders have lines.
FOLDERS = (".", "plugins", "plugins/module_utils", "roles", "extensions")
#: Where make and the tools put their results; git ignores it.
RESULTS = {"build", "__pycache__"}

#: The packages that have a list of their own: their place, and which of their packages may import which.
PACKAGES: dict[str, tuple[str, Mapping[str, set[str]]]] = {
    "fleet_worker": (rules.DAEMON, rules.DAEMON_PACKAGES),
    "fleet_gateway": (rules.GATEWAY, rules.GATEWAY_PACKAGES),
    "_mirror": (f"{rules.UTILS}/_mirror", rules.MIRROR_PACKAGES),
}


def listed(page: str) -> list[str]:
    """Return the path of each line of the lists on the page, in order."""
    found: list[str] = []
    for block in re.findall(r"^```text\n(.*?)^```$", page.partition("## Rooms")[2], re.MULTILINE | re.DOTALL):
        above: list[str] = []
        for line in filter(None, block.splitlines()):
            names = re.split(r"\s{2,}", line.strip())[0].split(", ")
            del above[(len(line) - len(line.lstrip())) // 2 :]
            found += ["/".join([*above, name.rstrip("/")]) for name in names]
            above.append(names[-1].rstrip("/"))
    return found


def folders(parent: Path) -> set[str]:
    """Return the names of the folders of a folder."""
    return {
        path.name
        for path in parent.iterdir()
        if path.is_dir() and path.name not in RESULTS and not path.name.startswith(".")
    }


def differences(page: str, root: Path, parents: tuple[str, ...]) -> list[str]:
    """Return the folders without a line, and the lines without a folder."""
    there = {str(Path(parent) / name) for parent in parents for name in folders(root / parent)}
    lines = [line for line in listed(page) if line.partition("/")[0] not in PACKAGES]
    return sorted(there ^ set(lines)) + sorted({line for line in lines if lines.count(line) > 1})


def test_each_folder_has_a_line() -> None:
    assert differences(PAGE, ROOT, FOLDERS) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_each_part_of_a_package_has_a_line(package: str) -> None:
    place = ROOT / PACKAGES[package][0]
    files = {path.name for path in place.glob("*.py") if not path.name.startswith("__")}
    shared = {name for name in folders(place) if name in rules.MAY_IMPORT}
    lines = [line.partition("/")[2] for line in listed(PAGE) if line.startswith(f"{package}/")]
    assert sorted(lines) == sorted(folders(place) - shared | files)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_below_what_they_import(package: str) -> None:
    order = [Path(line).stem for line in listed(PAGE) if line.startswith(f"{package}/")]
    for name, imported in PACKAGES[package][1].items():
        assert [other for other in imported if order.index(other) > order.index(name)] == [], name


def test_folder_without_a_line_and_line_without_a_folder_are_found(tmp_path: Path) -> None:
    for name in ("a/one", "a/two", "b"):
        (tmp_path / name).mkdir(parents=True)
    page = "## Rooms\n```text\na/       x\n  one/   the first, imports y\n  gone/  z\nb/, c/   w\n```\n"
    assert listed(page) == ["a", "a/one", "a/gone", "b", "c"]
    assert differences(page, tmp_path, (".", "a")) == ["a/gone", "a/two", "c"]
