# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role creates the user of a service if there is none, and removes no user but its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Optional

import pytest
import yaml
from ansible.template import trust_as_template
from task_files import ROOT, tasks_of

#: Roles that create a user, the variable with its name, and the one with what the host knows of it.
CREATORS = {
    "fleet_worker": ("fleet_worker_user", "__fleet_worker_user_entry"),
    "ollama_server": ("ollama_server_user", "__ollama_server_user_entry"),
}


def accounts() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each task that creates or removes a user: its role, the state of the user, and the task."""
    for path in sorted(ROOT.glob("roles/*/tasks/*.yml")):
        for task in tasks_of(yaml.safe_load(path.read_text())):
            user = task.get("ansible.builtin.user")
            # A task with the groups alone needs a user that is there.
            if user is not None and "groups" not in user:
                yield path.parts[-3], user.get("state", "present"), task


ACCOUNTS = {(role, state): task for role, state, task in accounts()}


def test_every_task_with_a_user_is_known() -> None:
    assert sorted(ACCOUNTS) == sorted((role, state) for role in CREATORS for state in ("absent", "present"))
    assert len(list(accounts())) == len(ACCOUNTS)


def conditions(task: dict[str, Any]) -> list[str]:
    when = task["when"]
    return [when] if isinstance(when, str) else list(when)


def is_run(evaluate: Any, role: str, state: str, comment: Optional[str], units: Iterable[str] = ()) -> bool:
    """Return whether the role creates or removes a user that has a comment (none: no such user) and units."""
    name, entry = CREATORS[role]
    own = ACCOUNTS[role, "present"]["ansible.builtin.user"]["comment"]
    known = None if comment is None else ["x", "999", "999", comment.format(own=own), "/", "/bin/sh"]
    options = {
        name: "svc-llm",
        entry: {"ansible_facts": {"getent_passwd": {"svc-llm": known}}},
        "__fleet_worker_user_units": {"stdout_lines": list(units)},
        "__ollama_server_with_models": True,
    }
    return all(
        evaluate(role, "met", met=trust_as_template("{{ (" + condition + ") | bool }}"), **options)
        for condition in conditions(ACCOUNTS[role, state])
    )


@pytest.mark.parametrize("role", sorted(CREATORS))
@pytest.mark.parametrize(
    "state, comment, runs",
    [
        ("present", None, True),
        ("present", "Somebody", False),
        ("present", "{own}", False),
        ("absent", None, False),
        ("absent", "Somebody", False),
        ("absent", "{own}", True),
    ],
)
def test_only_a_missing_user_is_created_and_only_the_role_s_own_removed(
    evaluate: Any, role: str, state: str, comment: Optional[str], runs: bool
) -> None:
    assert is_run(evaluate, role, state, comment) is runs


def test_worker_s_user_stays_if_another_unit_has_it(evaluate: Any) -> None:
    own = ["/etc/systemd/system/fleet-worker.service", "/etc/systemd/system/fleet-worker-updates.service"]
    assert is_run(evaluate, "fleet_worker", "absent", "{own}", units=own)
    for other in ("/usr/lib/systemd/system/ollama.service", "/etc/systemd/system/fleet-worker-2.service"):
        assert not is_run(evaluate, "fleet_worker", "absent", "{own}", units=[*own, other])


def test_worker_looks_for_its_user_after_other_roles_have_created_theirs() -> None:
    """provision_fleet runs the checks of all roles first, and the worker may have the user of Ollama."""
    configure = yaml.safe_load((ROOT / "roles/fleet_worker/tasks/configure.yml").read_text())
    assert configure[0]["register"] == CREATORS["fleet_worker"][1]
    assert "ansible.builtin.getent" in configure[0]
    assert "ansible.builtin.user" in configure[1]
