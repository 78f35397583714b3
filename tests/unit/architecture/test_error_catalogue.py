# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/errors.md has every code that an error of the collection has, and no other."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

#: Codes of base classes that nothing raises by themselves, and the code that stands in the runner of modules.
BASES = {"error"}
OF_THE_RUNNER = {"unexpected"}


def codes(text: str) -> Iterator[str]:
    """Yield the values of the class attribute ``code`` of all classes in a file."""
    for node in ast.walk(ast.parse(text)):
        for statement in node.body if isinstance(node, ast.ClassDef) else ():
            target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
            value = getattr(statement, "value", None)
            named = isinstance(target, ast.Name) and target.id == "code"
            if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def documented(page: str) -> Counter[str]:
    """Return how often each code begins a row of a table."""
    return Counter(re.findall(r"^\| `([a-z0-9_]+)` \|", page, re.MULTILINE))


def test_catalogue_has_each_code_of_the_tree_once() -> None:
    files = [path for folder in ("plugins", "roles", "extensions/eda") for path in (ROOT / folder).rglob("*.py")]
    found = {code for path in files for code in codes(path.read_text())} - BASES | OF_THE_RUNNER
    rows = documented((ROOT / "docs/errors.md").read_text())
    assert {code for code, number in rows.items() if number > 1} == set()
    assert sorted(found - set(rows)) == [], "codes without a row in docs/errors.md"
    assert sorted(set(rows) - found) == [], "rows without a code"


def test_codes_of_a_class_with_a_code_are_found() -> None:
    assert list(codes("class A(B):\n    code = 'one'\nclass C(A):\n    code: ClassVar[str] = 'two'\n")) == [
        "one",
        "two",
    ]


def test_documented_counts_rows_and_no_other_text() -> None:
    assert documented("| `a` | x |\ntext `b`\n| `a` | y |\n") == {"a": 2}
