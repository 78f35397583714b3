# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of the documents are those of their sources: of ``make bench``, of the lab, of the roles' defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

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


@pytest.mark.parametrize("sentence, case, alternative", RATIOS, ids=[alternative for *_rest, alternative in RATIOS])
def test_readme_has_the_measured_ratio(sentence: str, case: str, alternative: str) -> None:
    assert re.findall(sentence, README) == [ratio(case, alternative)]


def test_every_other_ratio_of_the_comparison_is_on_the_page() -> None:
    comparison = README.partition("\n## Comparison\n")[2].partition("\n## ")[0]
    ratios = re.findall(r"\b\d+\.\d\d\b(?!\.)", comparison)
    assert len(ratios) > len(RATIOS)
    assert [number for number in ratios if number not in PAGE] == []


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_demo_needs_what_the_lab_asks_for(page: str) -> None:
    lab = (ROOT / "tests/lab/setup.sh").read_text()
    (disk,) = re.findall(r"GB are free in \$CACHE, and the lab wants (\d+)", lab)
    (memory,) = re.findall(r"GB of memory, and the lab wants (\d+)", lab)
    text = " ".join((ROOT / page).read_text().split())
    assert f"{memory} GB of memory" in text
    assert f"{disk} GB of free disk" in text


def test_table_of_ports_has_the_defaults_of_the_roles() -> None:
    section = (ROOT / "docs/operations.md").read_text().partition("\n## Ports\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([0-9, ]+) \|.* \| `([a-z_]+)`[^|]*\|$", section, re.MULTILINE)
    shown = {variable: port for port, variable in rows}
    defaults = {
        name: re.findall(r"(?:^|:)([0-9]{4,5})$", str(value))
        for path in ROOT.glob("roles/*/defaults/main.yml")
        for name, value in yaml.safe_load(path.read_text()).items()
        if re.search(r"_port$|_listen$|_server_host$", name)
    }
    listeners = {name: ports[0] for name, ports in defaults.items() if ports}
    assert len(listeners) == 6
    assert {name: shown.get(name) for name in listeners} == listeners
