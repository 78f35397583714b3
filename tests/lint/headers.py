# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every Python file says whose it is, and under which licence; a private one says that it is private."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tree import tree_files

LICENCE = (
    "# Copyright (c) 2026, the legionio.ollama authors",
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
    "# SPDX-License-Identifier: GPL-3.0-or-later",
)
PRIVATE = "# PRIVATE to this collection: no promise of stability outside it."


def offences(root: Path) -> Iterator[str]:
    for name in tree_files(root):
        if not name.endswith(".py"):
            continue
        lines = (root / name).read_text().splitlines()[:12]
        # An empty __init__.py has nothing to license; ansible-test wants some of them empty.
        if not lines:
            continue
        missing = [line for line in LICENCE if line not in lines]
        if missing:
            yield f"{name}:1: the header lacks {missing[0]!r}"
        if name.startswith("plugins/module_utils/_") and PRIVATE not in lines:
            yield f"{name}:1: the header of a private util lacks {PRIVATE!r}"
