# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files belong to the tree: what git tracks and what it does not ignore."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path


def tree_files(root: Path) -> Iterator[str]:
    """Yield the paths of the regular files of the tree, relative to its root, sorted; links are left out.

    :raises subprocess.CalledProcessError: when ``root`` is not a git repository.
    """
    listed = subprocess.run(
        [
            "git",
            "-c",
            "safe.directory=*",
            "-C",
            str(root),
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout.decode()
    for name in sorted(set(listed.split("\0")) - {""}):
        path = root / name
        if path.is_file() and not path.is_symlink():
            yield name
