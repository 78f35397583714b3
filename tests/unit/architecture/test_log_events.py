# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/log-events.md has every event that the services log, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/log-events.md").read_text()
WORKER = ROOT / "roles/fleet_worker/files/fleet_worker"
GATEWAY = ROOT / "roles/fleet_gateway/files/fleet_gateway"

LEVELS = {"debug", "info", "warning", "error", "exception"}

#: The place of the event among the arguments of functions that are not methods of ``LOG``.
FUNCTIONS = {"log": 0, "contained": 2, "_line": 0}


def events(text: str) -> Iterator[str]:
    """Yield the events that a file logs.

    :raises ValueError: for an event that this function cannot read.
    """
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute) and ast.unparse(function.value) == "LOG" and function.attr in LEVELS:
            yield from constants(node.args[0])
            continue
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        named = [keyword.value for keyword in node.keywords if keyword.arg == "event" and name == "contained"]
        given = named or node.args[FUNCTIONS.get(name, len(node.args)) :][:1]
        if name == "contained" and not given:
            yield "defect"
        for event in given:
            if not isinstance(event, ast.Attribute):  # self._logger.log(level, ...)
                yield from constants(event)


def constants(node: ast.expr) -> Iterator[str]:
    """Yield the strings that an expression may have as its value."""
    if isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif not isinstance(node, ast.Name):  # a name is the argument of a function that passes the event on
        raise ValueError(f"the event {ast.unparse(node)} is not a string")


def logged(*folders: Path, but: str = "") -> set[str]:
    """Return the events of all files below some folders."""
    files = {path for folder in folders for path in folder.rglob("*.py") if not but or but not in path.parts}
    return {event for path in files for event in events(path.read_text())}


def rows(heading: str) -> set[str]:
    """Return the events of a section's table."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)}


def test_worker_has_its_events_on_the_page() -> None:
    assert rows("The worker") == logged(WORKER, but="updates")


def test_updates_have_their_events_on_the_page() -> None:
    assert rows("The updates") == logged(WORKER / "updates")


def test_gateway_has_its_events_on_the_page() -> None:
    assert rows("The gateway") == logged(GATEWAY)


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("LOG.info('a', x=1)", ["a"]),
        ("LOG.warning('a' if x else 'b')", ["a", "b"]),
        ("contained(work, instead)", ["defect"]),
        ("contained(work, instead, 'a')", ["a"]),
        ("contained(work, instead, event='a')", ["a"]),
        ("log('a', lane=1)", ["a"]),
        ("other('a')", []),
    ],
)
def test_events_are_found(text: str, wanted: list[str]) -> None:
    assert list(events(text)) == wanted


def test_event_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="not a string"):
        list(events("LOG.info(f'a_{x}')"))
