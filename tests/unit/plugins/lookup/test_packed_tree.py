# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One tree, one digest, one archive; another tree, another digest."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from ansible.errors import AnsibleLookupError
from ansible_collections.legionio.ollama.plugins.lookup.packed_tree import LookupModule, packed


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small package with a linked sibling, as the worker's sources are."""
    root = tmp_path / "tree"
    for name, text in {
        "app/main.py": "print(1)\n",
        "bin/run": "#!/bin/sh\n",
        "app/__pycache__/main.pyc": "x",
        ".hidden": "x",
        "old.pyc": "x",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "bin/run").chmod(0o700)
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "names.py").write_text("NAMES = []\n")
    (root / "app/shared").symlink_to("../../shared")
    return root


def digest(tree: Path, out: Path) -> str:
    out.mkdir(exist_ok=True)
    value = packed(tree, out)["digest"]
    assert isinstance(value, str)
    return value


def test_links_are_followed_and_rubbish_is_left_out(tree: Path, tmp_path: Path) -> None:
    result = packed(tree, tmp_path)
    assert result["files"] == ["app/main.py", "app/shared/names.py", "bin/run"]
    with tarfile.open(result["archive"]) as archive:
        modes = {member.name: member.mode for member in archive if member.isfile()}
        assert modes == {"app/main.py": 0o644, "app/shared/names.py": 0o644, "bin/run": 0o755}
        assert all(member.uid == 0 and not member.issym() for member in archive)
        content = archive.extractfile("app/shared/names.py")
        assert content is not None and content.read() == b"NAMES = []\n"


def test_dates_and_umask_change_nothing(tree: Path, tmp_path: Path) -> None:
    first = packed(tree, tmp_path)
    content = Path(first["archive"]).read_bytes()
    Path(first["archive"]).unlink()
    os.utime(tree / "app/main.py", (1, 1))
    (tree / "app/main.py").chmod(0o600)
    second = packed(tree, tmp_path)
    assert second == first
    assert Path(second["archive"]).read_bytes() == content


@pytest.mark.parametrize("change", ["content", "name", "mode", "shared"])
def test_every_change_that_matters_gives_another_digest(tree: Path, tmp_path: Path, change: str) -> None:
    before = digest(tree, tmp_path / "out")
    if change == "content":
        (tree / "app/main.py").write_text("print(2)\n")
    elif change == "name":
        (tree / "app/main.py").rename(tree / "app/other.py")
    elif change == "mode":
        (tree / "app/main.py").chmod(0o755)
    else:
        (tmp_path / "shared/names.py").write_text("NAMES = [1]\n")
    assert digest(tree, tmp_path / "out") != before


def test_a_missing_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(AnsibleLookupError, match="nowhere is not a directory"):
        LookupModule().run([str(tmp_path / "nowhere")])
