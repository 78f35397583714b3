# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module does not need does not slow its start."""

from __future__ import annotations

import subprocess
import sys

import pytest

ROOM = "ansible_collections.legionio.ollama.plugins.module_utils"


@pytest.mark.parametrize(
    "work, needs_a_client", [("ollama_s3_import", False), ("ollama_s3_publish", False), ("ollama_s3_sync", True)]
)
def test_only_a_sync_loads_the_client_of_ollama(work: str, needs_a_client: bool) -> None:
    program = f"import sys, {ROOM}._module.{work}; print('{ROOM}._ollama.client' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert printed.strip() == str(needs_a_client)
