# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode lists what the commands of the role would change, since Ansible only skips commands there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template

COMMAND = "ansible.builtin.command"
TASKS = Path(__file__).resolve().parents[3] / "roles/fleet_broker/tasks"


def neighbours(tasks: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yield each task, also in blocks, with the tasks of the same list."""
    for task in tasks:
        yield task, tasks
        yield from neighbours(task.get("block", []))


def conditions(task: dict[str, Any]) -> list[str]:
    given = task.get("when", [])
    return given if isinstance(given, list) else [given]


@pytest.mark.parametrize("file", ["install.yml", "join.yml"])
def test_each_command_that_changes_something_has_its_line_in_check_mode(file: str) -> None:
    unlisted = []
    for task, beside in neighbours(yaml.safe_load((TASKS / file).read_text())):
        if COMMAND not in task or task.get("changed_when") is False or task.get("check_mode") is False:
            continue
        place = beside.index(task)
        shown = [
            other
            for other in beside[max(place - 1, 0) : place + 3]
            if "ansible.builtin.debug" in other
            and other["changed_when"] is True
            and "ansible_check_mode" in conditions(other)
        ]
        if not shown:
            unlisted.append(task["name"])
    assert unlisted == []


@pytest.mark.parametrize(
    "enabled, clients, shown",
    [
        ("[rabbitmq_auth_mechanism_ssl].", "required", False),
        ("[rabbitmq_prometheus].", "required", True),
        ("", "optional", True),
        ("", "none", False),
    ],
)
def test_plugin_is_listed_if_it_is_missing(evaluate: Any, enabled: str, clients: str, shown: bool) -> None:
    task = next(
        one
        for one in yaml.safe_load((TASKS / "install.yml").read_text())
        if "rabbitmq_auth_mechanism_ssl" in str(one.get("ansible.builtin.debug"))
    )
    options = {
        "ansible_check_mode": True,
        "fleet_broker_tls": True,
        "fleet_broker_tls_clients": clients,
        "__fleet_broker_plugins": {"stdout": enabled},
    }
    condition = trust_as_template("{{ " + " and ".join(f"({one})" for one in task["when"]) + " }}")
    assert evaluate("fleet_broker", "condition", condition=condition, **options) is shown


@pytest.mark.parametrize(
    "answer, names",
    [
        (
            [
                {"name": "llm.one", "type": "quorum", "members": ["rabbit@hub1"]},
                {"name": "llm.two", "type": "quorum", "members": ["rabbit@hub1", "rabbit@hub2"]},
                {"name": "dead", "type": "classic", "members": ["rabbit@hub1"]},
            ],
            ["llm.one"],
        ),
        # There is no such virtual host.
        (None, []),
    ],
)
def test_queues_without_a_member_are_listed(evaluate: Any, answer: Any, names: list[str]) -> None:
    queues = {"rc": 0, "stdout": json.dumps(answer)} if answer else {"rc": 65, "stdout": ""}
    found = evaluate(
        "fleet_broker", "__fleet_broker_short_queues", facts={"hostname": "hub2"}, __fleet_broker_queues=queues
    )
    assert found == names
