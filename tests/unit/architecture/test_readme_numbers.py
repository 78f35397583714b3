# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The README compares with the numbers of the page that ``make bench`` writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "docs/performance.md").read_text()

#: A sentence of the README about a ratio, the case that measured the ratio, and the alternative's row.
RATIOS = [
    (r"a pull took ([0-9.]+) times as long", "download", "ollama pull"),
    (r"`boto3`[^|]*? and a hash took ([0-9.]+) times as long", "download", "boto3 download_file, then hash"),
    (r"to ([0-9.]+) times as many requests a second", "gateway-inflight", "LiteLLM's proxy"),
]


def ratio(case: str, alternative: str) -> str:
    """Return the ratio of an alternative in the table of a case."""
    part = PAGE.partition(f"<!-- measured: {case} -->")[2].partition(f"<!-- end: {case} -->")[0]
    (found,) = re.findall(rf"^\| {re.escape(alternative)} \| ([0-9.]+) \|", part, re.MULTILINE)
    return str(found)


@pytest.mark.parametrize(("sentence", "case", "alternative"), RATIOS, ids=[alternative for *_, alternative in RATIOS])
def test_readme_has_the_measured_ratio(sentence: str, case: str, alternative: str) -> None:
    assert re.findall(sentence, README) == [ratio(case, alternative)]


def test_every_other_ratio_of_the_comparison_is_on_the_page() -> None:
    comparison = README.partition("\n## Comparison\n")[2].partition("\n## ")[0]
    ratios = re.findall(r"\b\d+\.\d\d\b(?!\.)", comparison)
    assert len(ratios) > len(RATIOS)
    assert [number for number in ratios if number not in PAGE] == []
