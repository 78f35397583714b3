# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files with the tasks of roles and playbooks, and the tasks in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted([*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/**/*.yml")])


def tasks_of(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping in the content of a file: tasks, also in blocks and plays, and their options."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from tasks_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from tasks_of(inner)
