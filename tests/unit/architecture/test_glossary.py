# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The glossary is short, and the code has its words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import rules

ROOT = Path(__file__).resolve().parents[3]
MOST_TERMS = 40

#: Words that a reader of the code meets first, each with the class of this name.
CLASSES = {
    "consumer": "Consumers",
    "publisher": "ConfirmingPublisher",
    "handler": "RequestHandler",
    "result": "Result",
    "lane": "Lane",
    "delivery": "Delivery",
    "cancel token": "CancelToken",
    "circuit breaker": "CircuitBreaker",
    "result cache": "ResultCache",
}


def terms(page: str) -> list[str]:
    """Return the terms of the glossary of a page; a row may have several, with commas."""
    glossary = page.partition("## Glossary")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| ([^|]+) \|", glossary)
    return [term for row in rows if row != "word" for term in row.split(", ")]


def unused(words: Iterable[str], text: str) -> list[str]:
    """Return the words that a text does not have, neither apart nor as a part of a name such as `result_cache`."""
    return [word for word in words if not re.search(word.replace(" ", "[ _-]?"), text, re.IGNORECASE)]


def code() -> str:
    paths = [path for folder in ("plugins", "roles") for path in rules.python_files(ROOT / folder)]
    return "\n".join(path.read_text() for path in paths if not path.is_symlink())


PAGE = (ROOT / "docs/architecture.md").read_text()


def test_glossary_is_short_and_has_each_term_once() -> None:
    found = terms(PAGE)
    assert 30 < len(found) <= MOST_TERMS
    assert len(set(found)) == len(found)


def test_code_has_each_word_of_the_glossary() -> None:
    assert unused(terms(PAGE), code()) == []


@pytest.mark.parametrize("word", CLASSES)
def test_glossary_has_the_word_of_a_class(word: str) -> None:
    assert word in terms(PAGE)
    assert re.search(rf"(?m)^class {CLASSES[word]}\b", code())


def test_terms_of_a_row_with_a_comma_are_two() -> None:
    page = "## Glossary\n\n| word | meaning |\n|---|---|\n| a b | x |\n| c, d | y |\n\n## Rooms\n\n| e | z |\n"
    assert terms(page) == ["a b", "c", "d"]


def test_unused_word_is_found() -> None:
    assert unused(["result cache", "cancel token", "gone word"], "class ResultCache: cancel_token") == ["gone word"]
