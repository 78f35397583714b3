# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the tag of a release with the version and the changelog of its tree.

A release on Galaxy cannot be replaced, so a tag on the wrong commit must end before anything is published.

usage: python3 release_tag.py TAG [ROOT]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml


def problems(tag: str, root: Path) -> Iterator[str]:
    """Yield a sentence for each difference between a tag and a tree."""
    version = yaml.safe_load((root / "galaxy.yml").read_text())["version"]
    if tag != version:
        yield f"the tag is {tag}, and galaxy.yml has the version {version}; put the tag on the commit of its version"
    changelog = yaml.safe_load((root / "changelogs/changelog.yaml").read_text())
    if tag not in changelog["releases"]:
        yield f"changelogs/changelog.yaml has no release {tag}; run antsibull-changelog release, and commit the result"
    if left := sorted(path.name for path in (root / "changelogs/fragments").glob("*.y*ml")):
        yield f"the changelog lacks {', '.join(left)} in changelogs/fragments; run antsibull-changelog release"


def main() -> int:
    tag, *rest = sys.argv[1:]
    found = list(problems(tag, Path(rest[0]) if rest else Path(__file__).resolve().parents[2]))
    for problem in found:
        print(f"release_tag: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
