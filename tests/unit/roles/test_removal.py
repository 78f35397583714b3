# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A removal refuses before it changes anything, repairs one that was interrupted, and empties what it cannot remove.

The Molecule scenarios remove a real node; here `findmnt` answers as it does where something is mounted.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/ollama_server/files/mounted_directories.sh"


def mounted(tools: Path, *paths: str, mounts: list[str]) -> list[str]:
    """Ask the script which of the paths have one of the mounts."""
    (tools / "findmnt").write_text("#!/bin/sh\n" + "".join(f"echo '{mount}'\n" for mount in mounts))
    (tools / "findmnt").chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}"}
    command = ["sh", str(SCRIPT), *paths]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout.splitlines()


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("mount", ["{home}/models", "{home}/models/blobs"])
def test_directory_with_a_mount_is_printed_and_so_is_the_one_above(tmp_path: Path, tools: Path, mount: str) -> None:
    home = f"{tmp_path}/home"
    paths = [f"{home}/models", home, f"{home}/mod", f"{home}/models2"]
    assert mounted(tools, *paths, mounts=["/", "/proc", mount.format(home=home)]) == paths[:2]


def test_mount_is_found_behind_a_link_and_with_a_slash_at_the_end(tmp_path: Path, tools: Path) -> None:
    (tmp_path / "disk/models").mkdir(parents=True)
    (tmp_path / "srv").symlink_to("disk")
    for path in (f"{tmp_path}/srv/models", f"{tmp_path}/srv/models/"):
        assert mounted(tools, path, mounts=["/", f"{tmp_path}/disk/models"]) == [path]


def test_link_to_a_mount_is_not_printed_because_it_can_be_removed(tmp_path: Path, tools: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "models").symlink_to("disk")
    assert mounted(tools, f"{tmp_path}/models", mounts=["/", f"{tmp_path}/disk"]) == []


def test_nothing_is_printed_of_directories_without_a_mount(tools: Path) -> None:
    assert mounted(tools, "/srv/models", "/models", mounts=["/", "/srv", "/srv/model"]) == []
    assert mounted(tools, mounts=["/"]) == []
