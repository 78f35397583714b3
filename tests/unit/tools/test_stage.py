# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The staged tree is the tree, and stays it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import stage


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "deep").mkdir(parents=True)
    (root / "deep/a.txt").write_text("a")
    (root / "b.sh").write_text("b")
    (root / "b.sh").chmod(0o755)
    (root / "link").symlink_to("deep/a.txt")
    (root / ".gitignore").write_text("*.log\n")
    (root / "noise.log").write_text("noise")
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    return root


@pytest.fixture
def target(tmp_path: Path) -> Path:
    root = tmp_path / "target"
    root.mkdir()
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    return root


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if ".git" not in path.parts and not path.is_dir()}


def staged(source: Path, target: Path) -> tuple[int, int]:
    counts = stage.stage(source, target)
    subprocess.run(["git", "-C", str(target), "add", "--all"], check=True)
    return counts


def test_files_modes_and_links_are_copied_and_ignored_ones_are_not(source: Path, target: Path) -> None:
    assert staged(source, target) == (4, 0)
    assert files(target) == {"deep/a.txt", "b.sh", "link", ".gitignore"}
    assert os.access(target / "b.sh", os.X_OK)
    assert os.readlink(target / "link") == "deep/a.txt"
    assert staged(source, target) == (0, 0)


def test_changes_arrive_and_what_is_gone_goes(source: Path, target: Path) -> None:
    staged(source, target)
    (source / "b.sh").write_text("changed")
    (source / "deep/a.txt").unlink()
    assert staged(source, target) == (1, 1)
    assert (target / "b.sh").read_text() == "changed"
    assert not (target / "deep").exists()


def test_file_of_a_tool_in_the_copy_stays(source: Path, target: Path) -> None:
    staged(source, target)
    (target / "output.log").write_text("of a test that is running")
    assert staged(source, target) == (0, 0)
    assert (target / "output.log").exists()


def test_a_link_to_a_folder_that_became_a_folder(source: Path, target: Path) -> None:
    """The files of the folder must not be written to where the link led."""
    (source / "room").symlink_to("deep")
    staged(source, target)
    (source / "room").unlink()
    (source / "room").mkdir()
    (source / "room/a.txt").write_text("other")
    staged(source, target)
    assert (target / "deep/a.txt").read_text() == "a"
    assert (target / "room/a.txt").read_text() == "other"
    assert not (target / "room").is_symlink()
