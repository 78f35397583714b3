# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guides as pages of the site."""

from __future__ import annotations

from pathlib import Path

import pytest
import site_guides

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "link, wanted",
    [
        ("[a](fleet.md)", "[a](fleet.md)"),
        ("[a](fleet.md#look-at-it)", "[a](fleet.md#look-at-it)"),
        ("[a](#here)", "[a](#here)"),
        ("[a](https://example.com/x.md)", "[a](https://example.com/x.md)"),
        ("![a](pictures/a.svg)", "![a](pictures/a.svg)"),
        ("[a](../README.md#testing)", f"[a]({site_guides.REPOSITORY}/README.md#testing)"),
        ("[a](../roles/x/README.md)", f"[a]({site_guides.REPOSITORY}/roles/x/README.md)"),
        ("[a](monitoring/a.json)", f"[a]({site_guides.REPOSITORY}/docs/monitoring/a.json)"),
        ("[a](index.md)", f"[a]({site_guides.REPOSITORY}/docs/index.md)"),
    ],
)
def test_linked_keeps_guides_and_points_to_the_repository_for_the_rest(link: str, wanted: str) -> None:
    assert site_guides.linked(link, ROOT / "docs") == wanted


def test_each_guide_is_in_one_part_of_the_site() -> None:
    names = [name for part in site_guides.PARTS.values() for name in part]
    guides = {path.stem for path in (ROOT / "docs").glob("*.md")} - set(site_guides.OTHERS)
    assert sorted(names) == sorted(guides)
