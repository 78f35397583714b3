# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages that follow a request and a blob through the code name files and functions that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = {
    "docs/life-of-a-request.md": "roles/fleet_worker/files/fleet_worker",
    "docs/life-of-a-blob.md": "plugins/module_utils",
}
LONGEST_PAGE = 45
"""Lines: a page fits on a screen."""


def defined(tree: ast.AST, name: str) -> bool:
    """Whether a dotted name, such as `Class.method`, is defined in a file."""
    first, _dot, rest = name.partition(".")
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == first:
            return not rest or defined(node, rest)
    return False


def named(text: str) -> Iterator[tuple[str, str]]:
    """Yield each file that a page names, with its functions: a row has both in cells, a sentence after each other."""
    for line in text.splitlines():
        row = re.fullmatch(r"\|.*\| `([^`]+\.py)` \| (`[^|]+`) \|", line)
        if row is not None:
            yield row[1], row[2]
    prose = " ".join(line for line in text.splitlines() if not line.startswith("|"))
    yield from re.findall(r"`([^`]+\.py)`, (`[^`]+`)", prose)


def untrue(page: Path, base: Path) -> list[str]:
    """Return the files and functions of a page that do not exist."""
    found = []
    for file, functions in named(page.read_text()):
        path = base / file
        if not path.is_file():
            found.append(f"{file} does not exist")
            continue
        tree = ast.parse(path.read_text())
        found += [f"{file} has no {name}" for name in re.findall(r"`([^`]+)`", functions) if not defined(tree, name)]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_page_names_what_exists(page: str) -> None:
    assert untrue(ROOT / page, ROOT / PAGES[page]) == []


@pytest.mark.parametrize("page", PAGES)
def test_page_fits_on_a_screen_and_has_rows(page: str) -> None:
    lines = (ROOT / page).read_text().splitlines()
    assert len(lines) <= LONGEST_PAGE
    assert sum(".py` |" in line for line in lines) > 10


def test_page_that_is_untrue_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("class A:\n    async def b(self):\n        pass\n")
    page = tmp_path / "page.md"
    page.write_text(
        "| x | `a.py` | `A.b` |\n| x | `a.py` | `A`, `A.c`, `B` |\n| x | `gone.py` | `A` |\n"
        "It lets `a.py`,\n`A.b`, and then `a.py`, `A.d`, bring pieces into a `C`.\n"
    )
    assert untrue(page, tmp_path) == ["a.py has no A.c", "a.py has no B", "gone.py does not exist", "a.py has no A.d"]
