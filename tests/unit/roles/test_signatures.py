# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No task of a role or a playbook brings models past the policy of signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from task_files import FILES, ROOT, tasks_of

MODULES = ("legionio.ollama.ollama_s3_import", "legionio.ollama.ollama_s3_sync")
NEEDED = {"signature_policy", "signature_rules", "signature_keys"}


IMPORTS = [
    (path.relative_to(ROOT), task["name"], task[module])
    for path in FILES
    for task in tasks_of(yaml.safe_load(path.read_text()))
    for module in MODULES
    if module in task
]


def test_tasks_that_import_are_found() -> None:
    assert len(IMPORTS) >= 3


@pytest.mark.parametrize("path, name, options", IMPORTS, ids=lambda value: value if isinstance(value, str) else "")
def test_task_that_imports_demands_signatures(path: Path, name: str, options: dict[str, Any]) -> None:
    assert NEEDED - options.keys() == set(), f"{path}: {name}"
