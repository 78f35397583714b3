# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook with one play, whose modules use one server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml


def play(
    path: Path, tasks: list[dict[str, Any]], host: str, variables: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    """Run tasks on this host."""
    book = path / "play.yml"
    content = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable, **variables},
        "module_defaults": {"group/legionio.ollama.server": {"host": host}},
        "tasks": tasks,
    }
    book.write_text(yaml.safe_dump([content], sort_keys=False))
    return subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-c", "local", str(book)],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0"},
        capture_output=True,
        check=False,
        text=True,
    )
