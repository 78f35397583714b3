# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles as Ansible sees them: their defaults and variables templated, their templates written."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

# Variables of the roles use filters and lookups.

ROLES = Path(__file__).resolve().parents[3] / "roles"

#: What the roles ask of a host, for one that they support.
FACTS = {
    "architecture": "x86_64",
    "hostname": "node1",
    "nodename": "node1",
    "os_family": "Debian",
    "packages": {},
    "service_mgr": "systemd",
}

Evaluate = Callable[..., Any]
Render = Callable[..., str]


@functools.cache
def declared(role: str, part: str) -> Mapping[str, Any]:
    """Return the variables of a part of a role, as Ansible reads them."""
    loaded: Mapping[str, Any] = DataLoader().load_from_file(
        str(ROLES / role / part / "main.yml"), trusted_as_template=True
    )
    return loaded


@pytest.fixture
def evaluate() -> Evaluate:
    """Return the value that a variable has in a role, given other values of its options and other facts.

    With ``bare`` there are no facts at all.
    """

    def value(
        role: str, name: str, *, facts: Optional[Mapping[str, Any]] = None, bare: bool = False, **options: Any
    ) -> Any:
        loader = DataLoader()
        variables: dict[str, Any] = {}
        for part in ("defaults", "vars"):
            variables.update(declared(role, part))
        variables.update(
            options,
            ansible_facts={} if bare else {**FACTS, **(facts or {})},
            inventory_hostname="node1",
            groups={},
            role_path=str(ROLES / role),
        )
        return Templar(loader=loader, variables=variables).template(variables[name])

    return value


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """Return the text of a role's template, as the template module of a real run writes it."""

    def text(role: str, template: str, **options: Any) -> str:
        destination = tmp_path / template.removesuffix(".j2")
        command = ["ansible", "localhost", "--connection", "local", "--module-name", "ansible.builtin.template"]
        command += ["--args", f"src={ROLES / role / 'templates' / template} dest={destination}"]
        for part in ("defaults", "vars"):
            command += ["--extra-vars", f"@{ROLES / role / part / 'main.yml'}"]
        command += ["--extra-vars", json.dumps({"ansible_facts": FACTS, "role_path": str(ROLES / role), **options})]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
        return destination.read_text()

    return text
