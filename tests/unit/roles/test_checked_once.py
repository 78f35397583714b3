# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role skips its check only right after the same check of the same values, and once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from sound_values import SOUND
from task_files import FILES, ROOT, tasks_of

ROLES = Path(__file__).resolve().parents[3] / "roles"
CHECKED = ["ollama_server", "ollama_models", "fleet_worker"]


def tasks(role: str, name: str) -> Any:
    return yaml.safe_load((ROLES / role / "tasks" / name).read_text())


@pytest.mark.parametrize(
    "role, change",
    [
        ("ollama_server", {"ollama_server_version": "0.25.0"}),
        ("ollama_server", {"ollama_server_unit_overrides": {"Service": {"Nice": 1}}}),
        ("ollama_models", {"ollama_models_names": ["smollm2:135m", "another"]}),
        ("fleet_worker", {"fleet_worker_broker_password": "another"}),
        ("fleet_worker", {"fleet_worker_name": "gpu1"}),
    ],
)
def test_fingerprint_of_other_values_is_another(evaluate: Any, role: str, change: dict[str, Any]) -> None:
    first = evaluate(role, f"__{role}_fingerprint", **SOUND[role])
    assert first == evaluate(role, f"__{role}_fingerprint", **SOUND[role])
    assert first != evaluate(role, f"__{role}_fingerprint", **{**SOUND[role], **change})
    assert not any(str(value) in first for value in SOUND[role].values() if isinstance(value, str))


@pytest.mark.parametrize("role", CHECKED)
def test_role_checks_unless_that_was_the_last_thing_done(role: str) -> None:
    check, forget, *_others = tasks(role, "main.yml")
    assert check["ansible.builtin.include_tasks"]["file"] == "preflight.yml"
    assert check["when"] == f"__{role}_checked | default('') == '' or __{role}_checked != __{role}_fingerprint"
    assert forget["ansible.builtin.set_fact"] == {f"__{role}_checked": ""}
    assert check["tags"] == forget["tags"] == check["ansible.builtin.include_tasks"]["apply"]["tags"]


@pytest.mark.parametrize("role", CHECKED)
def test_check_notes_its_end_alone_and_hides_the_fingerprint(role: str) -> None:
    *before, last = tasks(role, "preflight.yml")
    assert last["ansible.builtin.set_fact"] == {f"__{role}_checked": f"{{{{ __{role}_fingerprint }}}}"}
    assert last["no_log"] is True
    assert "_checked" not in str(before)


def test_no_task_of_an_imported_file_has_tags_of_its_own() -> None:
    """Such a task also has the tags of the import, so its own tags do not limit it."""
    found = [
        f"{path.relative_to(ROOT)}: {task.get('name')}"
        for path in FILES
        if path.relative_to(ROOT).parts[0] == "roles" and path.name != "main.yml"
        for task in tasks_of(yaml.safe_load(path.read_text()))
        if "tags" in task and "name" in task
    ]
    assert found == []
