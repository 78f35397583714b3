# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/playbooks.md has the variables that the first lines of each playbook describe, and these are all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/playbooks.md").read_text()
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))

#: A line of a playbook that describes variables, and a row of the page.
LINE = re.compile(r"^# ([a-z_0-9*]+(?:, [a-z_0-9*]+)*) {2,}(\S.*)$", re.MULTILINE)
ROW = re.compile(r"^\| (`[a-z_0-9*]+`(?:, `[a-z_0-9*]+`)*) \| (.+) \|$", re.MULTILINE)

#: The beginning of variables that belong to playbooks, and not to roles.
OWN = re.compile(r"\b((?:legionio|publish|update|upgrade|rollback|verify|remove|drain)_[a-z0-9_]+[a-z0-9])\b")


def described(playbook: Path) -> dict[str, str]:
    """Return the variables that the first lines of a playbook describe, each group with its text."""
    head = playbook.read_text().partition("\n- name: ")[0]
    return dict(LINE.findall(head))


def rows(name: str) -> dict[str, str]:
    section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    return {names.replace("`", ""): text for names, text in ROW.findall(section)}


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=[path.stem for path in PLAYBOOKS])
def test_page_has_the_variables_of_the_playbook(playbook: Path) -> None:
    assert described(playbook)
    assert rows(playbook.stem) == described(playbook)


def test_every_variable_that_a_playbook_reads_is_on_the_page() -> None:
    known = {name for playbook in PLAYBOOKS for names in described(playbook) for name in names.split(", ")}
    families = tuple(name[:-1] for name in known if name.endswith("*"))
    names = {path.stem for path in PLAYBOOKS}
    read: set[str] = set()
    for path in (ROOT / "playbooks").rglob("*.yml"):
        for expression in re.findall(r"(?:\{\{|\bwhen:|\bthat:).*", path.read_text()):
            read.update(OWN.findall(expression))
    assert len(read) > 10
    assert {name for name in read - names if name not in known and not name.startswith(families)} == set()
