# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy the files of this tree to a path that ends in ansible_collections/<namespace>/<name>.

Ansible's tools find a collection by that path, and ansible-test by git; so the copy is a git repository of its own. All
files that git tracks or does not ignore are copied, links as links; files that were copied before and are gone from the
tree are removed. Only changed files are written, and what the tools put into the copy is left alone, so that a run
costs little and never disturbs a test that is running there. Before, the daemon's links to the shared rooms are made
complete, in the tree itself (link_rooms.py).

usage: python3 stage.py TARGET
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import link_rooms

SOURCE = Path(__file__).resolve().parents[2]


def known_to_git(root: Path, *options: str) -> set[str]:
    """The paths, relative to the root, that git lists."""
    listed = subprocess.run(
        # A tree that belongs to another user is read, too: CI often checks out as one and builds as another.
        ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z", "--cached", *options],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout.decode()
    return set(listed.split("\0")) - {""}


def wanted(source: Path) -> set[str]:
    """The paths, relative to the source, of the files and links that belong to the tree."""
    # git also lists tracked files that are deleted in the working tree, or have become folders.
    return {name for name in known_to_git(source, "--others", "--exclude-standard") if is_file(source / name)}


def is_file(path: Path) -> bool:
    """Whether a file or a link, wherever it leads, is at a path."""
    return path.is_symlink() or path.is_file()


def same(a: Path, b: Path) -> bool:
    if not os.path.lexists(b) or a.is_symlink() != b.is_symlink():
        return False
    if a.is_symlink():
        return os.readlink(a) == os.readlink(b)
    left, right = a.stat(), b.stat()
    return (left.st_size, left.st_mtime_ns, left.st_mode) == (right.st_size, right.st_mtime_ns, right.st_mode)


def copy(source: Path, target: Path) -> None:
    """Put the source in the target's place by rename, so that a reader sees the old file or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    fresh = target.with_name(f".{target.name}.staging")
    fresh.unlink(missing_ok=True)
    shutil.copy2(source, fresh, follow_symlinks=False)
    fresh.replace(target)


def stage(source: Path, target: Path) -> tuple[int, int]:
    """Make the target equal to the source; return how many files were copied and how many removed."""
    names = wanted(source)
    # First what must go: a stale link to a folder would lead the copies astray.
    stale = known_to_git(target) - names
    for name in stale:
        (target / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, as most
            os.removedirs((target / name).parent)
    copied = 0
    for name in sorted(names):
        if not same(source / name, target / name):
            copy(source / name, target / name)
            copied += 1
    return copied, len(stale)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    target = Path(sys.argv[1]).absolute()
    if target.parts[-3:-2] != ("ansible_collections",):
        print(f"stage: {target} does not end in ansible_collections/<namespace>/<name>", file=sys.stderr)
        return 2
    target.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for line in link_rooms.mend(SOURCE):
            print(line)
        git = ["git", "-C", str(target)]
        if not (target / ".git").is_dir():
            subprocess.run([*git, "init", "--quiet"], check=True)
        copied, removed = stage(SOURCE, target)
        if copied or removed:
            subprocess.run([*git, "add", "--all"], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
