# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy the files of this tree to a path that ends in ansible_collections/<namespace>/<name>.

Ansible's tools find a collection by that path, and ansible-test by git; so the copy is a git repository of its own.
What git tracks and what it does not ignore is copied, links as links; what the tree no longer has is removed.
Only changed files are written, so that repeated runs cost little and never disturb a test that reads the copy.
Before, the daemon's links to the shared rooms are made complete, in the tree itself (link_rooms.py).

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


def wanted(source: Path) -> set[str]:
    """The paths, relative to the source, of the files and links that belong to the tree."""
    listed = subprocess.run(
        ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout.decode()
    # git also lists tracked files that are deleted in the working tree, or have become folders.
    return {name for name in listed.split("\0") if name and is_file(source / name)}


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
    removed = 0
    for folder, folders, files in os.walk(target, topdown=True):
        here = Path(folder)
        if here == target:
            # Git's own folder, and what the tools leave behind in the copy.
            folders[:] = [name for name in folders if name not in {".git", ".ansible"}]
        links = [name for name in folders if (here / name).is_symlink()]
        for name in files + links:
            path = here / name
            if str(path.relative_to(target)) not in names:
                path.unlink()
                removed += 1
    for folder, _folders, _files in os.walk(target, topdown=False):
        if ".git" not in Path(folder).relative_to(target).parts and folder != str(target):
            with contextlib.suppress(OSError):  # not empty, as most
                os.rmdir(folder)
    copied = 0
    for name in sorted(names):
        if not same(source / name, target / name):
            copy(source / name, target / name)
            copied += 1
    return copied, removed


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
        copied, removed = stage(SOURCE, target)
        git = ["git", "-C", str(target)]
        if not (target / ".git").is_dir():
            subprocess.run([*git, "init", "--quiet"], check=True)
            copied += 1
        if copied or removed:
            subprocess.run([*git, "add", "--all"], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
