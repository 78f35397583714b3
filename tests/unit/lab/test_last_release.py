# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commit of the last release is that of its tag, or the one that wrote the version into the changelog."""

from __future__ import annotations

import subprocess
from pathlib import Path

import last_release
import pytest


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A history that has the version 1.0.0 from its second commit on, and 1.10.0 from its third."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "changelogs").mkdir()
    old, new = "  1.0.0:\n    date: today\n", "  1.10.0:\n    date: tomorrow\n"
    for number, releases in enumerate(("", old, old + new, old + new.replace("tomorrow", "later"))):
        (tmp_path / last_release.CHANGELOG).write_text(f"releases:\n{releases}")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "--quiet", f"--message=change {number}")
    return tmp_path


def git(root: Path, *arguments: str) -> None:
    user = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *user, "-C", str(root), *arguments], check=True)


def subject(root: Path, commit: str) -> str:
    return last_release.git(root, "log", "-1", "--format=%s", commit)


def test_newest_version_is_chosen_by_its_numbers(repository: Path) -> None:
    assert last_release.last_version(repository) == "1.10.0"


def test_release_without_a_tag_is_the_commit_that_wrote_the_version(repository: Path) -> None:
    assert subject(repository, last_release.commit_of(repository, "1.10.0")) == "change 2"
    assert subject(repository, last_release.commit_of(repository, "1.0.0")) == "change 1"


def test_release_with_a_tag_is_the_commit_of_the_tag(repository: Path) -> None:
    git(repository, "tag", "1.10.0")
    assert subject(repository, last_release.commit_of(repository, "1.10.0")) == "change 3"


def test_release_outside_the_history_is_named_with_the_remedy(repository: Path) -> None:
    with pytest.raises(LookupError, match=r"2\.0\.0; fetch it"):
        last_release.commit_of(repository, "2.0.0")
