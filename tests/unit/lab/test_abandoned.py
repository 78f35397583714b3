# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dead process has left is found; what a living one has is left alone."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import abandoned
import pytest


@pytest.fixture
def dead() -> str:
    """The name of a process that has ended."""
    with subprocess.Popen(["sleep", "60"]) as process:
        name = abandoned.owner(process.pid)
        assert abandoned.lives(name)
        process.kill()
    return name


def test_owner_that_has_ended_does_not_live(dead: str) -> None:
    assert not abandoned.lives(dead)
    assert abandoned.lives(abandoned.owner())


def test_owner_whose_number_came_again_does_not_live() -> None:
    number, _dot, start = abandoned.owner().partition(".")
    assert not abandoned.lives(f"{number}.{int(start) - 1}")


@pytest.mark.parametrize("name", ["", "1", "x.y", "999999999.1"])
def test_owner_of_no_sense_does_not_live(name: str) -> None:
    assert not abandoned.lives(name)


def test_directories_of_the_dead_are_found(dead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in (f"legionio-s3-{dead}-abc", f"legionio-s3-{abandoned.owner()}-abc", "legionio-other", "another"):
        (tmp_path / name).mkdir()
    (found,) = abandoned.directories()
    found.remove()
    assert not (tmp_path / f"legionio-s3-{dead}-abc").exists()
    assert len(list(tmp_path.iterdir())) == 3
