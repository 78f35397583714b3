# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory that a service user cannot enter is found, whoever the user is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/ollama_server/files/closed_directory.sh"


def walk(user: str, *paths: Path) -> list[str]:
    command = ["sh", str(SCRIPT), user, user, *map(str, paths)]
    # The kernel is asked as another user, which takes root.
    sudo = [] if os.getuid() == 0 else ["sudo", "-n"]
    return subprocess.run(sudo + command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that everybody can reach, unlike pytest's own."""
    root = tmp_path_factory.mktemp("disk")
    for parent in (root, *root.parents):
        if parent.owner() == Path.home().owner() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
    (root / "data/models").mkdir(parents=True)
    return root


@pytest.mark.parametrize("user", ["daemon", "nobody-has-this-name"])
def test_the_first_closed_directory_is_named_with_its_mode(disk: Path, user: str) -> None:
    (disk / "data").chmod(0o750)
    assert [line.rsplit(" ", 2)[:2] for line in walk(user, disk / "data/models/deep")] == [[str(disk / "data"), "750"]]


@pytest.mark.parametrize("user", ["daemon", "nobody-has-this-name"])
def test_an_open_way_prints_nothing(disk: Path, user: str) -> None:
    (disk / "data").chmod(0o711)
    assert walk(user, disk / "data/models", disk / "does/not/exist/yet") == []


def test_the_directory_itself_is_the_roles_to_open(disk: Path) -> None:
    (disk / "data/models").chmod(0o700)
    assert walk("daemon", disk / "data/models") == []


def test_links_are_followed_to_the_real_directories(disk: Path) -> None:
    (disk / "data").chmod(0o700)
    (disk / "link").symlink_to("data/models")
    assert walk("daemon", disk / "link/x")[0].startswith(f"{disk / 'data'} ")
