# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents that promise what the tree does not hold are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import documents
import pytest

MAKEFILE = "demo: ## show\n\techo\nsanity-2.19: ## check\n"
GUIDE = "# A guide\n\n## Set it up!\n```\n# no heading\n```\n"


@pytest.mark.parametrize(
    "line",
    [
        "[g](docs/guide.md) [s](docs/guide.md#set-it-up) [top](#top) [web](https://example.com/x#y)",
        "`make demo` and `STEPS=a make sanity-2.19`, which make sense",
        "    $ make demo",
    ],
)
def test_true_statement_passes(plant: Callable[[dict[str, str]], Path], line: str) -> None:
    files = {"Makefile": MAKEFILE, "README.md": f"# Top\n{line}\n", "docs/guide.md": GUIDE}
    assert list(documents.offences(plant(files))) == []


@pytest.mark.parametrize(
    "line, offence",
    [
        ("[g](docs/gude.md)", "the link docs/gude.md leads nowhere"),
        ("[g](docs/guide.md#no-heading)", "the link docs/guide.md#no-heading leads nowhere"),
        ("[g](#down)", "the link #down leads nowhere"),
        ("`make dmeo`", "the Makefile has no target dmeo"),
        ("make dmeo", "the Makefile has no target dmeo"),
    ],
)
def test_untrue_statement_is_found(plant: Callable[[dict[str, str]], Path], line: str, offence: str) -> None:
    files = {"Makefile": MAKEFILE, "README.md": f"# Top\n{line}\n", "docs/guide.md": GUIDE}
    assert list(documents.offences(plant(files))) == [f"README.md:2: {offence}"]


def test_a_target_that_help_does_not_list_is_found(plant: Callable[[dict[str, str]], Path]) -> None:
    (found,) = documents.offences(plant({"Makefile": MAKEFILE + "hidden: demo\n"}))
    assert found.startswith("Makefile:4: `make help` does not list hidden")


def test_document_names_a_test_that_is_not_there_is_found(plant: Callable[[dict[str, str]], Path]) -> None:
    tests = "def test_a() -> None:\n    pass\n\n\nclass Other:\n    def test_b(self) -> None:\n        pass\n"
    line = (
        "`tests/a/test_x.py::test_a`, `tests/a/test_x.py::test_b`, tests/a/test_y.py::test_a, tests/a/test_x.py::test_"
    )
    found = list(documents.offences(plant({"docs/security.md": line, "tests/a/test_x.py": tests})))
    assert found == [
        "docs/security.md:1: there is no test tests/a/test_x.py::test_b",
        "docs/security.md:1: there is no test tests/a/test_y.py::test_a",
        "docs/security.md:1: there is no test tests/a/test_x.py::test_",
    ]


def test_security_document_names_a_test_for_each_line_of_its_tables() -> None:
    root = Path(__file__).resolve().parents[3]
    rows = [line for line in (root / "docs" / "security.md").read_text().splitlines() if line.startswith("| ")]
    claims = [row for row in rows if not row.startswith("| | ")]
    assert len(claims) > 20
    assert [row for row in claims if not documents.TEST.search(row)] == []
    assert [test for row in claims for test in documents.missing_tests(root, row)] == []
