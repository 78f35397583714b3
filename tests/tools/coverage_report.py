# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print how many lines of each room the unit tests run, and fail when a room has less than it should.

usage: python3 coverage_report.py COVERAGE.json
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

LEAST = 85.0
"""Per cent of the lines of each room that unit tests run."""

FOLDERS = ("plugins/module_utils/", "roles/fleet_worker/files/", "roles/fleet_gateway/files/")
"""The folders of the measured packages."""

SHOWN = 5
"""Files of a room below the limit that are named."""


class Room(NamedTuple):
    """How many statements of a room's files are run.

    :ivar missing: statements that no test runs, by file.
    """

    name: str
    statements: int
    run: int
    missing: Counter[str]

    @property
    def share(self) -> float:
        """Per cent."""
        return 100.0 * self.run / self.statements if self.statements else 100.0


def rooms(report: Mapping[str, Any]) -> list[Room]:
    """Return the rooms in a report of `coverage json`."""
    statements: Counter[str] = Counter()
    missing: dict[str, Counter[str]] = {}
    for name, entry in report["files"].items():
        folder = next((folder for folder in FOLDERS if name.startswith(folder)), None)
        if folder is None:
            continue
        room = name[len(folder) :].split("/")[0]
        statements[room] += entry["summary"]["num_statements"]
        missing.setdefault(room, Counter())[name] = entry["summary"]["missing_lines"]
    return [
        Room(room, count, count - missing[room].total(), +missing[room])
        for room, count in sorted(statements.items())
        if count
    ]


def main() -> int:
    found = rooms(json.loads(Path(sys.argv[1]).read_text()))
    poor = [room for room in found if room.share < LEAST]
    for room in found:
        print(f"COVERAGE {room.name:14} {room.share:5.1f} %  of {room.statements} statements, by unit tests alone")
    for room in poor:
        worst = ", ".join(f"{name} ({count})" for name, count in room.missing.most_common(SHOWN))
        print(f"{room.name} has less than {LEAST:g} %. Statements that no unit test runs: {worst}")
    return 1 if poor else 0


if __name__ == "__main__":
    sys.exit(main())
