# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A name that another program has is found before a role overwrites the unit, and a role finds its own unit.

The Molecule scenarios ask a real systemd; here `systemctl` and `getent` answer as it does.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template

ROLES = Path(__file__).resolve().parents[3] / "roles"
WORKER = {
    "fleet_worker_broker_password": "secret",
    "fleet_worker_updates_broker_password": "hidden",
    "__fleet_worker_release": "1.0.0-0123456789",
    "__fleet_worker_venv": "cp311-x86_64-0123456789",
}
GATEWAY = {
    "__fleet_gateway_release": "1.0.0-0123456789",
    "__fleet_gateway_venv": "cp311-x86_64-0123456789",
}


class Host:
    """A host with some units and users."""

    def __init__(self, folder: Path, tools: Path) -> None:
        self._folder = folder
        self._tools = tools
        self._units: dict[str, Path] = {}
        self.users: dict[str, int] = {}

    def add_unit(self, name: str, text: str) -> Path:
        self._units[name] = path = self._folder / f"{name}.service"
        path.write_text(text)
        return path

    def answer(self, argv: Sequence[str]) -> list[str]:
        """Run a command of a role, and return its lines."""
        units = "".join(f'*" {name}.service") echo {path};; ' for name, path in self._units.items())
        users = "".join(f"{name}) echo {name}:x:{number}:;; " for name, number in self.users.items())
        for tool, text in {
            "systemctl": f'case "$*" in {units} *) echo;; esac',
            "getent": f'case "$2" in {users} *) exit 2;; esac',
        }.items():
            (self._tools / tool).write_text(f"#!/bin/sh\n{text}\n")
            (self._tools / tool).chmod(0o755)
        environment = {"PATH": f"{self._tools}:{os.environ['PATH']}"}
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        return done.stdout.splitlines()


@pytest.fixture
def host(tmp_path: Path, tools: Path) -> Host:
    return Host(tmp_path, tools)


def command(evaluate: Any, role: str, **options: Any) -> list[str]:
    """Return the command with which a role looks for other owners of its names."""
    tasks = yaml.safe_load((ROLES / role / "tasks/preflight.yml").read_text())
    (found,) = [task for task in tasks if task["name"].startswith("Look for other owners")]
    argv = [trust_as_template(word) for word in found["ansible.builtin.command"]["argv"]]
    return list(evaluate(role, "argv", argv=argv, **options))


@pytest.mark.parametrize(
    "role, templates, options",
    [
        ("fleet_gateway", {"fleet-gateway": "fleet-gateway.service.j2"}, GATEWAY),
        (
            "fleet_worker",
            {"fleet-worker": "fleet-worker.service.j2", "fleet-worker-updates": "fleet-updates.service.j2"},
            WORKER,
        ),
    ],
)
def test_role_keeps_its_own_units_and_no_others(
    host: Host, evaluate: Any, render: Any, role: str, templates: Mapping[str, str], options: dict[str, Any]
) -> None:
    argv = command(evaluate, role, **options)
    assert host.answer(argv) == []
    for name, template in templates.items():
        host.add_unit(name, render(role, template, **options))
    host.users[next(iter(templates))] = 61184
    assert host.answer(argv) == []
    for name in templates:
        path = host.add_unit(name, f"[Service]\nExecStart=/usr/sbin/{name}\n")
        assert f"the unit {name}.service ({path})" in host.answer(argv)
    assert len(host.answer(argv)) == len(templates)


@pytest.mark.parametrize(
    "role, other, template, options",
    [
        ("fleet_gateway", "fleet_worker", "fleet-worker.service.j2", WORKER),
        ("fleet_worker", "fleet_gateway", "fleet-gateway.service.j2", GATEWAY),
    ],
)
def test_role_does_not_take_the_name_of_the_other_one(
    host: Host, evaluate: Any, render: Any, role: str, other: str, template: str, options: dict[str, Any]
) -> None:
    path = host.add_unit("hub", render(other, template, **options, **{f"{other}_name": "hub"}))
    argv = command(evaluate, role, **{f"{role}_name": "hub"})
    assert host.answer(argv) == [f"the unit hub.service ({path})"]


@pytest.mark.parametrize("number, is_taken", [(0, True), (999, True), (61184, False), (65519, False), (65534, True)])
@pytest.mark.parametrize("role", ["fleet_gateway", "fleet_worker"])
def test_user_that_is_not_systemds_own_is_printed(
    host: Host, evaluate: Any, role: str, number: int, is_taken: bool
) -> None:
    host.users["hub"] = number
    argv = command(evaluate, role, **{f"{role}_name": "hub"})
    assert host.answer(argv) == (["the user hub"] if is_taken else [])


def test_user_that_the_worker_is_to_have_is_not_looked_for(host: Host, evaluate: Any) -> None:
    host.users["hub"] = 999
    argv = command(evaluate, "fleet_worker", fleet_worker_name="hub", fleet_worker_user="hub")
    assert host.answer(argv) == []


@pytest.mark.parametrize("role", ["fleet_gateway", "fleet_worker"])
def test_taken_name_is_refused_before_the_role_changes_anything(role: str) -> None:
    tasks = yaml.safe_load((ROLES / role / "tasks/preflight.yml").read_text())
    names = [task["name"] for task in tasks]
    (look,) = [number for number, name in enumerate(names) if name.startswith("Look for other owners")]
    refusal = tasks[look + 1]["ansible.builtin.assert"]
    assert refusal["that"] == f"{tasks[look]['register']}.stdout_lines | length == 0"
    assert f"{role}_name" in refusal["fail_msg"]
