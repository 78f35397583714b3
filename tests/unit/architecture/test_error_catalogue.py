# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/errors.md has every code that an error of the collection or an answer of the gateway has, and no other."""

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

#: The section with the codes of the gateway's answers.
GATEWAY = "## Answers of the gateway\n"
#: The code of a worker, which the gateway passes on: docs/wire-protocol.md has these codes.
OF_WORKERS = "failure.code"


def codes(text: str) -> Iterator[str]:
    """Yield the values of the class attribute ``code`` of all classes in a file."""
    for node in ast.walk(ast.parse(text)):
        for statement in node.body if isinstance(node, ast.ClassDef) else ():
            target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
            value = getattr(statement, "value", None)
            named = isinstance(target, ast.Name) and target.id == "code"
            if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def answers(text: str) -> Iterator[tuple[str, str]]:
    """Yield code and status of each ``GatewayError(status, code, ...)`` in a file; an expression as it is written."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "GatewayError":
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            given.update(zip(("status", "code"), node.args))
            code = given["code"]
            yield str(code.value) if isinstance(code, ast.Constant) else ast.unparse(code), ast.unparse(given["status"])


def documented(page: str) -> Counter[str]:
    """Return how often each code begins a row of a table."""
    return Counter(re.findall(r"^\| `([a-z0-9_]+)` \|", page, re.MULTILINE))


def documented_answers(section: str) -> dict[str, str]:
    """Return the status of each code that begins a row of a table."""
    return dict(re.findall(r"^\| `([a-z0-9_]+)` \| ([0-9]{3}) \|", section, re.MULTILINE))


def test_catalogue_has_each_code_of_the_tree_once() -> None:
    files = [path for folder in ("plugins", "roles", "extensions/eda") for path in (ROOT / folder).rglob("*.py")]
    found = {code for path in files for code in codes(path.read_text())} - BASES | OF_THE_RUNNER
    rows = documented((ROOT / "docs/errors.md").read_text().partition(GATEWAY)[0])
    assert {code for code, number in rows.items() if number > 1} == set()
    assert sorted(found - set(rows)) == [], "codes without a row in docs/errors.md"
    assert sorted(set(rows) - found) == [], "rows without a code"


def test_catalogue_has_each_code_of_the_gateway_once_with_its_status() -> None:
    files = (ROOT / "roles/fleet_gateway/files/fleet_gateway").rglob("*.py")
    found = {answer for path in files for answer in answers(path.read_text()) if answer[0] != OF_WORKERS}
    section = (ROOT / "docs/errors.md").read_text().partition(GATEWAY)[2]
    rows = documented_answers(section)
    assert {code for code, number in documented(section).items() if number > 1} == set()
    assert sorted({code for code, _status in found} - set(rows)) == [], "codes without a row in docs/errors.md"
    assert sorted(set(documented(section)) - {code for code, _status in found}) == [], "rows without a code"
    # A status that the code computes has no digits.
    assert sorted((code, status) for code, status in found if status.isdigit() and rows[code] != status) == []


def test_codes_of_the_gateway_mean_one_thing() -> None:
    """A code of the gateway is no other error's, except where both mean the same."""
    before, _heading, section = (ROOT / "docs/errors.md").read_text().partition(GATEWAY)
    assert set(documented(before)) & set(documented(section)) == {"deadline_exceeded", "model_not_found"}


def test_answers_are_found_with_expressions_as_they_are_written() -> None:
    text = "GatewayError(404, 'one', 'x')\nGatewayError(error.status, f(x), 'x')\nGatewayError(code='two', status=5)"
    assert list(answers(text)) == [("one", "404"), ("f(x)", "error.status"), ("two", "5")]


def test_codes_of_a_class_with_a_code_are_found() -> None:
    assert list(codes("class A(B):\n    code = 'one'\nclass C(A):\n    code: ClassVar[str] = 'two'\n")) == [
        "one",
        "two",
    ]


def test_documented_counts_rows_and_no_other_text() -> None:
    assert documented("| `a` | x |\ntext `b`\n| `a` | y |\n") == {"a": 2}
