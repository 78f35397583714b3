# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of a release's tag."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import release_tag
import yaml

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files that the check reads, as they are in a commit that may be released as 1.2.3."""
    shutil.copy(ROOT / "galaxy.yml", tmp_path)
    text = (ROOT / "galaxy.yml").read_text()
    version = yaml.safe_load(text)["version"]
    (tmp_path / "galaxy.yml").write_text(text.replace(f"version: {version}", "version: 1.2.3"))
    (tmp_path / "changelogs/fragments").mkdir(parents=True)
    (tmp_path / "changelogs/changelog.yaml").write_text("ancestor: null\nreleases:\n  1.2.3: {changes: {}}\n")
    return tmp_path


def test_tag_of_the_version_with_its_changelog_is_accepted(tree: Path) -> None:
    assert list(release_tag.problems("1.2.3", tree)) == []


def test_tag_of_another_version_is_refused(tree: Path) -> None:
    (other, missing) = release_tag.problems("1.2.4", tree)
    assert "1.2.3" in other
    assert "no release 1.2.4" in missing


def test_release_without_its_changelog_is_refused(tree: Path) -> None:
    (tree / "changelogs/changelog.yaml").write_text("ancestor: null\nreleases: {}\n")
    (tree / "changelogs/fragments/7-fix.yml").write_text("bugfixes: [a fix]\n")
    (missing, left) = release_tag.problems("1.2.3", tree)
    assert "no release 1.2.3" in missing
    assert "7-fix.yml" in left


def test_refusal_ends_the_run_with_the_reasons(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["release_tag.py", "1.2.4", str(tree)])
    assert release_tag.main() == 1
    assert "galaxy.yml has the version 1.2.3" in capsys.readouterr().err


def test_workflow_checks_the_tag_before_it_has_the_key() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    steps = [str(step) for step in workflow["jobs"]["release"]["steps"]]
    (check,) = [number for number, step in enumerate(steps) if "release_tag.py" in step]
    assert check < min(number for number, step in enumerate(steps) if "secrets." in step)
