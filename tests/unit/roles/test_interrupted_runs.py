# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that was interrupted, for example by a full disk, leaves nothing that a later run takes for complete."""

from __future__ import annotations

import pytest
import yaml
from task_files import FILES, ROOT, tasks_of

UNARCHIVE = "ansible.builtin.unarchive"
#: The directories that later tasks rename or complete.
UNFINISHED = ("_partial }}", "_partial_path }}", "_venv_path }}/wheels")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_archives_are_unpacked_where_no_run_takes_them_for_complete(path):
    """On a full disk, tar creates the remaining files with 0 bytes, so a file proves nothing about itself."""
    for task in tasks_of(yaml.safe_load(path.read_text())):
        if UNARCHIVE in task:
            assert "creates" not in task[UNARCHIVE], task["name"]
            assert task[UNARCHIVE]["dest"].endswith(UNFINISHED), task["name"]
