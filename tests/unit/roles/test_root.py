# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks read the credentials of a node as root, and nothing becomes root on the controller."""

from __future__ import annotations

import pytest
import yaml
from task_files import FILES, ROOT, tasks_of

DELEGATED = {
    f"{path.relative_to(ROOT)}: {task['name']}": task
    for path in FILES
    for task in tasks_of(yaml.safe_load(path.read_text()))
    if "delegate_to" in task
}


def test_tasks_of_the_controller_are_found() -> None:
    assert len(DELEGATED) >= 5


@pytest.mark.parametrize("name", sorted(DELEGATED))
def test_task_of_the_controller_does_not_become_root(name: str) -> None:
    assert DELEGATED[name]["delegate_to"] == "localhost"
    assert DELEGATED[name]["become"] is False


@pytest.mark.parametrize("module", ["ollama_s3_info", "fleet_request"])
def test_verification_reads_credentials_as_root_like_the_roles(module: str) -> None:
    """The play of verify_fleet has no "become", unlike those of the other playbooks with these tasks."""
    document = yaml.safe_load((ROOT / "playbooks/tasks/verify_node.yml").read_text())
    found = [task for task in tasks_of(document) if f"legionio.ollama.{module}" in task]
    assert [(task["become"], "delegate_to" in task) for task in found] == [(True, False)]
