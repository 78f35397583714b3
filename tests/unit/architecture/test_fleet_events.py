# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/operations.md has every event of the event source with its fields, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "extensions/eda/plugins/event_source/fleet_events.py"
WATCH = ROOT / "plugins/module_utils/_fleet/fleet_watch.py"


class EventReader:
    """Reads the events that a file makes: dictionaries with a ``type``, also joined with others by ``|``."""

    def __init__(self, text: str) -> None:
        tree = ast.parse(text)
        self._nodes = list(ast.walk(tree))
        self._functions = {node.name: node for node in self._nodes if isinstance(node, ast.FunctionDef)}
        self._parents = {child: node for node in self._nodes for child in ast.iter_child_nodes(node)}

    def events(self) -> dict[str, set[str]]:
        """Return the fields of each event, without ``type``.

        :raises ValueError: for an event that this class cannot read.
        """
        found: dict[str, set[str]] = {}
        for node in self._nodes:
            if not isinstance(node, ast.Dict) or "type" not in map(_text, node.keys):
                continue
            whole: ast.expr = node
            while isinstance(self._parents[whole], ast.BinOp):
                whole = self._parents[whole]  # type: ignore[assignment]
            kind = node.values[[_text(key) for key in node.keys].index("type")]
            for name in self._kinds(kind):
                found[name] = self._fields(whole) - {"type"}
        return found

    def _kinds(self, kind: ast.expr) -> list[str]:
        """Return the values of ``type``: a text, or the first argument of all calls of the function."""
        if _text(kind):
            return [_text(kind)]
        function = self._function_of(kind)
        if not isinstance(kind, ast.Name) or kind.id != function.args.args[0].arg:
            raise ValueError(ast.unparse(kind))
        calls = [node for node in self._nodes if isinstance(node, ast.Call) and _name(node.func) == function.name]
        return [_text(call.args[0]) for call in calls]

    def _fields(self, node: ast.expr) -> set[str]:
        if isinstance(node, ast.Dict):
            return set(map(_text, node.keys))
        if isinstance(node, ast.BinOp):
            return self._fields(node.left) | self._fields(node.right)
        inside: ast.AST
        if isinstance(node, ast.Call) and _name(node.func) in self._functions:
            inside = self._functions[_name(node.func)]
            values = [each.value for each in ast.walk(inside) if isinstance(each, ast.Return)]
        else:
            inside = self._function_of(node)
            assigned = [each for each in ast.walk(inside) if isinstance(each, (ast.Assign, ast.AnnAssign))]
            values = [each.value for each in assigned if _name(node) in map(_name, _targets(each))]
        if len(values) != 1 or values[0] is None:
            raise ValueError(ast.unparse(node))
        return self._fields(values[0])

    def _function_of(self, node: ast.AST) -> ast.FunctionDef:
        while not isinstance(node, ast.FunctionDef):
            node = self._parents[node]
        return node


def _text(node: object) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def documented() -> dict[str, set[str]]:
    """Return the fields of each event in the table of the page."""
    page = (ROOT / "docs/operations.md").read_text()
    (table,) = re.findall(r"^\| event \| fields \| when \|\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\|", table, re.MULTILINE)
    assert len(rows) == len(dict(rows)) == table.count("\n")
    return {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows}


def made() -> dict[str, set[str]]:
    return EventReader(WATCH.read_text()).events() | EventReader(SOURCE.read_text()).events()


def test_page_has_each_event_with_its_fields() -> None:
    assert documented() == made()


def test_documentation_of_the_source_has_each_event() -> None:
    text = SOURCE.read_text()
    assert [name for name in made() if f"C({name})" not in text] == []


def test_events_are_read_from_joined_dictionaries_calls_and_arguments() -> None:
    text = (
        "def f(x):\n    about = {'b': 1}\n    return [{'type': 'one'} | about | g(x), h('two')]\n"
        "def g(x):\n    return {'c': x}\n"
        "def h(kind):\n    return {'type': kind, 'd': 1}\n"
    )
    assert EventReader(text).events() == {"one": {"b", "c"}, "two": {"d"}}


@pytest.mark.parametrize("text", ["def f(x, y):\n    return {'type': y}", "def f(x):\n    return {'type': 'a'} | x"])
def test_event_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[xy]$"):
        EventReader(text).events()
