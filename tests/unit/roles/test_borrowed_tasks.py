# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role that includes tasks of another one gives them every variable that they use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
BORROWED = re.compile(r"role_path \| dirname \}\}/(\w+)/tasks/(\w+\.yml)")


class Include(NamedTuple):
    """:ivar file: of the tasks that are included, which belong to the role ``lender``."""

    lender: str
    file: Path
    given: frozenset[str]


def tasks_of(document: Any) -> Iterator[dict[str, Any]]:
    """Yield the tasks of a file, those in blocks too."""
    for task in document or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_of(task.get(part))


def includes() -> Iterator[tuple[str, Include]]:
    """Yield each include of another role's tasks, by a name for people."""
    for path in sorted(ROLES.glob("*/tasks/*.yml")):
        for task in tasks_of(yaml.safe_load(path.read_text())):
            found = BORROWED.search(str(task.get("ansible.builtin.include_tasks", "")))
            if found is not None and found[1] != path.parts[-3]:
                target = ROLES / found[1] / "tasks" / found[2]
                yield (
                    f"{path.parts[-3]}/{path.name}: {found[2]}",
                    Include(found[1], target, frozenset(task.get("vars", {}))),
                )


def needed(include: Include) -> set[str]:
    """Return the variables of the lender that its tasks use and do not make themselves."""
    text = include.file.read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    tasks = list(tasks_of(yaml.safe_load(text)))
    made = {task["register"] for task in tasks if "register" in task}
    made |= {name for task in tasks for name in {**task.get("vars", {}), **task.get("ansible.builtin.set_fact", {})}}
    paths = rf"{include.lender}/|legionio\.ollama\.{include.lender}"
    return set(re.findall(rf"\b(?:__)?{include.lender}_\w+", re.sub(paths, "", code))) - made


INCLUDES = dict(includes())


def test_roles_include_tasks_of_others() -> None:
    assert any("running.yml" in name for name in INCLUDES)


@pytest.mark.parametrize("name", sorted(INCLUDES))
def test_borrowed_tasks_are_given_what_they_use(name: str) -> None:
    include = INCLUDES[name]
    # What is included by what is included is given by the same include.
    assert needed(include) - include.given == set()
