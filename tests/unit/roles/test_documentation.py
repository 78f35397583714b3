# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference of each role is shown, without a warning."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROLES = sorted(path.name for path in (Path(__file__).resolve().parents[3] / "roles").iterdir())


@pytest.mark.parametrize("role", ROLES)
def test_ansible_doc_shows_the_role_without_a_warning(role: str) -> None:
    command = ["ansible-doc", "--type", "role", f"legionio.ollama.{role}"]
    shown = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"{role}_" in shown.stdout
