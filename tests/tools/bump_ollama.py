# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write another version of Ollama, and the checksum of its archive, into files.

Without FILE, these are the files of this repository: the guides and the lab. A FILE is one with variables, such as
group_vars/all/fleet.yml of an inventory. A file keeps a checksum that is a placeholder (sha256:...) or an expression.
The list of checksums is a file or a URL, by default sha256sum.txt of the release.

usage: python3 bump_ollama.py VERSION [--sums SUMS] [--arch amd64|arm64] [FILE...]
"""

from __future__ import annotations

import argparse
import re
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RELEASES = "https://github.com/ollama/ollama/releases/download"

#: The files of this repository that choose a version. Others name the version that they describe.
GUIDES = ("README.md", "docs/tutorial-one-node.md", "docs/tutorial-three-nodes.md", "roles/ollama_server/README.md")
PART, UPGRADE = "tests/lab/parts/ollama.sh", "tests/lab/upgrade_parts.py"

_VERSION = re.compile(r"^(\s*ollama_server_version: *[\"']?)[0-9]+\.[0-9]+\.[0-9]+", re.MULTILINE)
_CHECKSUM = re.compile(r"^(\s*ollama_server_checksum: *[\"']?sha256:)[0-9a-f]{64}", re.MULTILINE)
_SUMS = re.compile(rf"({re.escape(RELEASES)}/v)[0-9]+\.[0-9]+\.[0-9]+(?=/sha256sum\.txt)")


def checksum_of(sums: str, name: str) -> str:
    """Return the checksum of an archive in the text of sha256sum.txt.

    :raises SystemExit: if the text does not have the archive once.
    """
    found = re.findall(rf"^([0-9a-f]{{64}})[ *]+(?:\./)?{re.escape(name)}$", sums, re.MULTILINE)
    if len(set(found)) != 1:
        raise SystemExit(f"bump_ollama: the list of checksums has {len(found)} lines for {name}; choose another list")
    return str(found[0])


def bumped(text: str, version: str, checksum: str) -> str:
    """Return a file with variables of the role ollama_server, with another version, checksum and list of checksums."""
    text = _SUMS.sub(rf"\g<1>{version}", _VERSION.sub(rf"\g<1>{version}", text))
    return _CHECKSUM.sub(rf"\g<1>{checksum}", text)


def bump_lab(root: Path, version: str) -> list[Path]:
    """Write the version into the lab, and the next patch into the drills of upgrades; return the changed files."""
    major, minor, patch = version.split(".")
    following = f"{major}.{minor}.{int(patch) + 1}"
    if len(following) != len(version):
        raise SystemExit(f"bump_ollama: the drills replace {version} in a program by {following}, which is longer")
    part, upgrade = (root / name for name in (PART, UPGRADE))
    part.write_text(re.sub(r"(?m)^(version=|# Ollama )[0-9.]+", rf"\g<1>{version}", part.read_text()))
    drills = f'VERSION, NEXT = b"{version}", b"{following}"'
    upgrade.write_text(re.sub(r"(?m)^VERSION, NEXT = .*", drills, upgrade.read_text()))
    return [part, upgrade]


def read(source: str) -> str:
    """Return the text of a file or a URL."""
    if "://" not in source:
        return Path(source).read_text()
    with urllib.request.urlopen(source, timeout=30) as answer:
        return str(answer.read(1 << 20).decode())


def main(arguments: list[str], root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(prog="bump_ollama", description="Write another version of Ollama into files.")
    parser.add_argument("version")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--sums", help="file or URL; default: sha256sum.txt of the release")
    parser.add_argument("--arch", choices=("amd64", "arm64"), default="amd64")
    given = parser.parse_intermixed_args(arguments)
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", given.version):
        parser.error(f"{given.version} is not a version like 0.24.0")
    sums = read(given.sums or f"{RELEASES}/v{given.version}/sha256sum.txt")
    checksum = checksum_of(sums, f"ollama-linux-{given.arch}.tar.zst")
    for path in given.files or [root / name for name in GUIDES]:
        text = path.read_text()
        if _VERSION.search(text) is None:
            raise SystemExit(f"bump_ollama: {path} has no ollama_server_version with a version")
        path.write_text(bumped(text, given.version, checksum))
        print(path)
    for path in [] if given.files else bump_lab(root, given.version):
        print(path)
    print(f"ollama_server_version: {given.version}\nollama_server_checksum: sha256:{checksum}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
