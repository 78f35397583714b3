# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requirements of an execution environment are complete, and the tests build one with them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]

DISTRIBUTIONS = {"botocore": "boto3", "jwt": "PyJWT", "urllib3": "requests"}
"""The distribution that brings a package of another name."""

OF_ANSIBLE = {"ansible", "ansible_collections", "yaml"}
"""Packages that every controller has."""


def imported_packages(path: Path) -> Iterator[str]:
    """Yield the top-level packages that a file imports, without relative imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def requirement_names(path: Path) -> set[str]:
    """Return the names of the distributions in a requirements file."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return {re.split(r"[<>=!~ ;\[]", line)[0] for line in lines if line}


def definition(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def ee_requirements() -> set[str]:
    """Return the distributions that ansible-builder installs for the collection."""
    return requirement_names(ROOT / definition(ROOT / "meta/execution-environment.yml")["dependencies"]["python"])


def test_every_package_that_plugins_import_is_a_requirement() -> None:
    foreign = {
        DISTRIBUTIONS.get(package, package)
        for path in (ROOT / "plugins").rglob("*.py")
        for package in imported_packages(path)
        if package not in sys.stdlib_module_names and package not in OF_ANSIBLE
    }
    assert foreign == ee_requirements()


def test_the_wheels_of_the_lab_are_those_of_the_requirements() -> None:
    assert ee_requirements() < requirement_names(ROOT / "tests/requirements-execution-environment.txt")


def test_the_lab_installs_the_archive_that_its_script_provides() -> None:
    built = definition(ROOT / "tests/execution-environment/execution-environment.yml")
    (collection,) = built["dependencies"]["galaxy"]["collections"]
    (file,) = built["additional_build_files"]
    assert collection["name"] == f"{file['dest']}/{file['src']}"
    assert file["src"] in (ROOT / "tests/tools/execution_environment.sh").read_text()
