# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents tell the truth about the tree: links lead somewhere, and every `make` target and every test that they
name exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from tree import tree_files

LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
FENCE = re.compile(r"^\s*(```|~~~)")
# A target at the start of a command line, or in backquotes.
MAKE = re.compile(r"(?:^\s*(?:\$ )?|`)(?:[A-Z_]+=\S+ )*make ([a-z][a-z0-9.-]*)", re.MULTILINE)
# A test as pytest names it, without its parameters.
TEST = re.compile(r"\b(tests/[\w/.-]+\.py)::(\w+)")
TARGET = re.compile(r"^([a-z0-9][a-z0-9.-]*):", re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    found = set()
    fenced = False
    for line in text.splitlines():
        fenced ^= bool(FENCE.match(line))
        match = HEADING.match(line)
        if match and not fenced:
            found.add(slug(match.group(1)))
    return found


def broken_link(root: Path, name: str, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return False
    path, _mark, anchor = link.partition("#")
    target = (root / name).parent / unquote(path) if path else root / name
    if not target.exists():
        return True
    return bool(anchor) and target.suffix == ".md" and anchor not in anchors(target.read_text())


def missing_tests(root: Path, line: str) -> list[str]:
    """Return the tests that a line names and that are not there."""
    found = []
    for path, test in TEST.findall(line):
        text = (root / path).read_text() if (root / path).exists() else ""
        if not re.search(rf"^def {re.escape(test)}\(", text, re.MULTILINE):
            found.append(f"{path}::{test}")
    return found


def offences(root: Path) -> Iterator[str]:
    makefile = root / "Makefile"
    targets = set(TARGET.findall(makefile.read_text())) if makefile.exists() else set()
    for name in tree_files(root):
        if not name.endswith(".md"):
            continue
        text = (root / name).read_text()
        for number, line in enumerate(text.splitlines(), start=1):
            for link in LINK.findall(line):
                if broken_link(root, name, link):
                    yield f"{name}:{number}: the link {link} leads nowhere"
            for target in MAKE.findall(line):
                if target not in targets:
                    yield f"{name}:{number}: the Makefile has no target {target}"
            yield from (f"{name}:{number}: there is no test {test}" for test in missing_tests(root, line))
    if makefile.exists():
        for number, line in enumerate(makefile.read_text().splitlines(), start=1):
            match = TARGET.match(line)
            if match and "## " not in line:
                yield f"Makefile:{number}: `make help` does not list {match.group(1)}: it has no `## what it does`"
