# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build and install the last release of the collection from the history of this repository.

usage: last_release.py DIRECTORY

Installs the archive in DIRECTORY/ansible_collections, and prints the version and the commit. The last release is the
newest version of changelogs/changelog.yaml. Its tree is that of the tag with its name; in a clone without tags, that of
the commit that wrote the version into the changelog. Before the first release, the latest commit takes its place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Optional

import yaml

CHANGELOG = "changelogs/changelog.yaml"


def git(root: Path, *arguments: str) -> str:
    """Return what git prints; empty if it fails."""
    command = ["git", "-c", "safe.directory=*", "-C", str(root), *arguments]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def last_version(root: Path) -> Optional[str]:
    """Return the newest released version; None before the first release."""
    releases = yaml.safe_load((root / CHANGELOG).read_text())["releases"] or {}
    return max(releases, key=lambda version: [int(part) for part in version.split("-")[0].split(".")], default=None)


def commit_of(root: Path, version: str) -> str:
    """Return the commit of a release.

    :raises LookupError: if the history does not have it.
    """
    tagged = git(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{version}^{{commit}}")
    escaped = version.replace(".", "[.]")
    written = git(root, "log", "--reverse", "--format=%H", f"-G^  {escaped}:$", "--", CHANGELOG).split("\n")[0]
    found = tagged or written
    if not found:
        raise LookupError(f"the history has no commit that released {version}; fetch it: git fetch --unshallow --tags")
    return found


def install(root: Path, commit: str, target: Path) -> None:
    """Build the archive of a commit, and install it."""
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir()
        packed = ["git", "-c", "safe.directory=*", "-C", str(root), "archive", commit]
        with subprocess.Popen(packed, stdout=subprocess.PIPE) as archived:
            subprocess.run(["tar", "-x", "-C", str(tree)], check=True, stdin=archived.stdout)
        if archived.returncode:
            raise subprocess.CalledProcessError(archived.returncode, packed)
        galaxy = ["ansible-galaxy", "collection"]
        subprocess.run([*galaxy, "build", "--output-path", scratch, str(tree)], check=True, stdout=sys.stderr)
        (built,) = Path(scratch).glob("*.tar.gz")
        # Without the staged tree, which is an installed collection to Ansible.
        alone = {k: v for k, v in os.environ.items() if k not in ("ANSIBLE_COLLECTIONS_PATH", "PYTHONPATH")}
        subprocess.run(
            [*galaxy, "install", "--no-deps", "--collections-path", str(target), str(built)],
            check=True,
            stdout=sys.stderr,
            env=alone,
        )


def main() -> None:
    target = Path(sys.argv[1])
    root = Path(os.environ["LEGIONIO_BUILD"]).parent
    version = last_version(root)
    commit = commit_of(root, version) if version else git(root, "rev-parse", "HEAD")
    shutil.rmtree(target, ignore_errors=True)
    install(root, commit, target)
    print(f"{version or 'no release yet, the latest commit'} ({commit[:12]})")


if __name__ == "__main__":
    main()
