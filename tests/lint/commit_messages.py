# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commit messages: a subject of at most 72 characters, a reason in the body, and nothing that belongs to one machine.

The messages checked are those since the last release tag. Before the first release, they are those that the branch has
beyond its upstream, or the newest one alone.

usage: python tests/lint/commit_messages.py [ROOT]
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import leaks

LONGEST_SUBJECT = 72
"""Characters: what `git log --oneline` and the web views show without a cut."""


def offences(messages: dict[str, str]) -> Iterator[str]:
    """Yield one line for each offence.

    :param messages: whole messages by the abbreviated hash of their commit.
    """
    for commit, message in messages.items():
        subject = message.partition("\n")[0]
        if len(subject) > LONGEST_SUBJECT:
            yield f"commit {commit}: {len(subject)} characters in the subject, {LONGEST_SUBJECT} at most: {subject}"
        for number, line in enumerate(message.splitlines(), start=1):
            for what, pattern in leaks.PATTERNS.items():
                match = pattern.search(line)
                if match:
                    yield f"commit {commit}, line {number} of its message: {what}: {match.group(0)}"


def git(root: Path, *arguments: str) -> Optional[str]:
    """Return what git prints, or None when it fails: where there is no history, there are no messages to check."""
    command = ["git", "-c", "safe.directory=*", "-C", str(root), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def since(root: Path) -> str:
    """Return the commit after which messages are checked."""
    tag = git(root, "describe", "--tags", "--abbrev=0")
    upstream = git(root, "merge-base", "HEAD", "@{upstream}")
    head = git(root, "rev-parse", "HEAD")
    return tag or (upstream if upstream != head else None) or "HEAD^"


def messages_of(root: Path) -> dict[str, str]:
    """Return the messages to check, by the abbreviated hash of their commit."""
    listed = git(root, "log", "-z", "--format=%h %B", f"{since(root)}..HEAD") or ""
    return dict(entry.split(" ", 1) for entry in listed.split("\0") if " " in entry)


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    found = list(offences(messages_of(root)))
    for offence in found:
        print(offence)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
