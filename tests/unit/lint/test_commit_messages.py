# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a commit message may not have."""

from __future__ import annotations

import subprocess
from pathlib import Path

import commit_messages
import pytest

MACHINE = "/ho" + "me/jo/work"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "First " + "x" * 80)
    return tmp_path


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True)


def commit(root: Path, message: str) -> None:
    git(root, "commit", "--quiet", "--allow-empty", "--message", message)


@pytest.mark.parametrize(
    "message, offence",
    [
        ("x" * 73, "73 characters in the subject"),
        (f"Merge branch 'a' of {MACHINE}", "a path of one machine"),
        (f"Mend it\n\nSeen in {MACHINE}/x", "line 3 of its message: a path of one machine"),
    ],
)
def test_message_with_an_offence_is_named(repository: Path, message: str, offence: str) -> None:
    commit(repository, message)
    (found,) = commit_messages.offences(commit_messages.messages_of(repository))
    assert offence in found


def test_message_without_an_offence_passes(repository: Path) -> None:
    commit(repository, "x" * 72 + "\n\nA reason, however long the line of it may be: " + "y" * 100)
    assert list(commit_messages.offences(commit_messages.messages_of(repository))) == []


def test_messages_are_those_since_the_last_tag(repository: Path) -> None:
    git(repository, "tag", "1.0.0")
    for number in range(3):
        commit(repository, f"Change {number}")
    assert len(commit_messages.messages_of(repository)) == 3


def test_messages_without_a_history_are_none(tmp_path: Path) -> None:
    assert commit_messages.messages_of(tmp_path) == {}
