# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ollama that was started before its user joined the groups of a GPU is found, and is restarted.

The process of the service is the one of these tests; `systemctl`, `id` and `getent` are scripts.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles/ollama_server"
FOREIGN = 54321


@pytest.mark.parametrize(
    "runs, user, groups, missing",
    [
        (True, os.getuid(), {"video": os.getgid(), "render": FOREIGN}, ["render"]),
        (True, os.getuid(), {"video": os.getgid()}, []),
        # The user is in none of them.
        (True, os.getuid(), {}, []),
        # The unit's overrides set another user.
        (True, FOREIGN, {"render": FOREIGN}, []),
        # The service does not run.
        (False, os.getuid(), {"render": FOREIGN}, []),
    ],
)
def test_group_that_the_process_does_not_have_is_printed(
    tools: Path, runs: bool, user: int, groups: dict[str, int], missing: list[str]
) -> None:
    numbers = "".join(f"{name}) echo {name}:x:{number}: ;; " for name, number in groups.items())
    for tool, text in {
        "systemctl": f"echo {os.getpid() if runs else 0}",
        "id": f'case $1 in -u) echo {user} ;; *) echo "ollama {" ".join(groups)}" ;; esac',
        "getent": f'case "$2" in {numbers} *) exit 2 ;; esac',
    }.items():
        (tools / tool).write_text(f"#!/bin/sh\n{text}\n")
        (tools / tool).chmod(0o755)
    done = subprocess.run(
        ["sh", str(ROLE / "files/missing_groups.sh"), "ollama.service", "ollama", "render", "video", "vide"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={"PATH": f"{tools}:{os.environ['PATH']}"},
    )
    assert done.stdout.splitlines() == missing


def test_ollama_is_restarted_for_its_new_groups() -> None:
    for part, words in {"install": "groups of the devices", "start": "groups of the devices that the running"}.items():
        tasks = yaml.safe_load((ROLE / f"tasks/{part}.yml").read_text())
        (task,) = [task for task in tasks if words in task["name"]]
        assert task["notify"] == "Ollama changed"
