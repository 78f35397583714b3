# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search files for texts that must not be in them: secret_search.py [--expect-all] NEEDLES PATH...

NEEDLES is a file of JSON, {"name": "text", ...}. Each text is searched for as it is and in Base64. Prints what was
searched and where something was found, and fails if anything was; with --expect-all it fails unless each text was
found, which shows that a search can find something. An empty search fails, too.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

#: Bytes; shorter texts are in everything.
SHORTEST = 8


def spellings(text: str) -> list[bytes]:
    """Return a text as it is, and what of it is in Base64 wherever in a longer text it begins."""
    plain = text.encode()
    found = [plain]
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + plain).rstrip(b"=")
        # The first and the last characters depend on what stands beside the text, too.
        found.append(encoded[4 if lead else 0 : -1])
    return found


def load(path: Path) -> dict[str, str]:
    """Read the texts by their names.

    :raises ValueError: without a needle, or if one is so short that it is in everything.
    """
    needles: dict[str, str] = json.loads(path.read_text())
    short = sorted(name for name, text in needles.items() if len(text.encode()) < SHORTEST)
    if short or not needles:
        raise ValueError(f"no texts to search for, or too short ones: {', '.join(short)}")
    return needles


def found_in(content: bytes, needles: Mapping[str, str]) -> set[str]:
    """Return the names of the texts that are in some bytes."""
    return {name for name, text in needles.items() if any(one in content for one in spellings(text))}


def files_of(paths: Iterable[Path]) -> list[Path]:
    return [
        file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*"))) if file.is_file()
    ]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("needles", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--expect-all", action="store_true")
    options = parser.parse_args()
    needles = load(options.needles)
    searched, size, found = files_of(options.paths), 0, set()
    for path in searched:
        content = path.read_bytes()
        size += len(content)
        for name in sorted(found_in(content, needles)):
            found.add(name)
            line = next((line for line in content.splitlines() if found_in(line, {name: needles[name]})), b"")
            print(f"found {name} in {path}: {line[:60]!r} ...")
    print(f"searched {len(searched)} files, {size} bytes, for {len(needles)} texts: {len(found)} found")
    if options.expect_all:
        return 0 if found == set(needles) else 1
    return 1 if found or not size else 0


if __name__ == "__main__":
    sys.exit(main())
