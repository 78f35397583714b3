# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a case found out, and how it is printed and written into a document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rounds import Contestant


@dataclass(frozen=True)
class Goal:
    """Something that was to be reached.

    :param found: the number as people read it.
    """

    what: str
    found: str
    met: bool


@dataclass(frozen=True)
class Finding:
    """The result of one case.

    :param name: by which the case is chosen, and its part of the document found.
    :param text: what was measured, and how; paragraphs.
    :param notes: numbers beside the table, one sentence each.
    """

    name: str
    title: str
    text: str
    contestants: Sequence[Contestant]
    goals: Sequence[Goal]
    notes: Sequence[str] = ()

    @property
    def body(self) -> str:
        """The part of the document about it, in Markdown."""
        goals = _table(
            ("goal", "measured", "met"), [(goal.what, goal.found, "yes" if goal.met else "no") for goal in self.goals]
        )
        parts = [f"## {self.title}", self.text, _compared(self.contestants), *map(" ".join, _points(self.notes)), goals]
        return "\n\n".join(part for part in parts if part)


def ratio(others: float, ours: float) -> str:
    return f"{others / ours:.2f}"


def faster(contestant: Contestant, ours: Contestant, least: float) -> Goal:
    """Return the goal of being so many times as fast as another contestant."""
    found = contestant.median() / ours.median()
    return Goal(f"at least {least:g}x as fast as {contestant.name}", f"{found:.2f}x", found >= least)


def write(document: Path, parts: dict[str, str]) -> None:
    """Put parts of a document in the places of those of the same name; new ones come last."""
    text = document.read_text()
    for name, body in parts.items():
        begin, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
        part = f"{begin}\n\n{body}\n\n{end}"
        if begin in text:
            text = re.sub(
                f"{re.escape(begin)}.*?{re.escape(end)}", lambda _match, part=part: part, text, flags=re.DOTALL
            )
        else:
            text = f"{text.rstrip()}\n\n{part}\n"
    document.write_text(text)


def _compared(contestants: Sequence[Contestant]) -> str:
    """Return a table of the contestants; the first is ours, with which the others are compared."""
    ours = contestants[0].median()
    synced = all("fsync" in sample.facts for contestant in contestants for sample in contestant.samples)
    rows = []
    for contestant in contestants:
        seconds = [sample.seconds for sample in contestant.samples]
        rows.append(
            (
                contestant.name,
                ratio(contestant.median(), ours),
                _time(contestant.median()),
                f"{_time(min(seconds))} to {_time(max(seconds))}",
                *([_time(contestant.median("fsync"))] if synced else []),
                _time(contestant.cpu) if contestant.cpu else "not measured",
                str(len(seconds)),
            )
        )
    columns = ("", "ratio", "median", "fastest to slowest", *(["of it fsync"] if synced else []))
    return _table((*columns, "processor time", "runs"), rows)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds == 0 or seconds >= 0.1 else f"{1000 * seconds:.2f} ms"


def _points(notes: Sequence[str]) -> list[list[str]]:
    return [["\n".join(f"- {note}" for note in notes)]] if notes else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""
