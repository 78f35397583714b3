# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing that belongs to one machine or one person is committed: its paths, its hosts, its keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tree import tree_files

# What would be found here besides is this file's own subject.
EXCEPT = {"tests/lint/leaks.py", "tests/unit/lint/test_leaks.py"}

PATTERNS = {
    "a path of one machine": re.compile(
        r"(?<![\w.-])(/work/|/home/(?!admin\b|models\b|you\b|user\b|[${<])|/Users/|/mnt/[a-z]+/)[\w./-]*"
    ),
    "a path in root's home": re.compile(r"(?<![\w.-])/root/(?!\.ollama\b|\.ansible\b|\.ssh\b)[\w./-]+"),
    "an access key": re.compile(r"\b(AKIA|ASIA)(?!IOSFODNN7EXAMPLE)[A-Z0-9]{16}\b"),
    "a token": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{36}|glpat-[\w-]{20}|pypi-[\w-]{50,}|hf_[A-Za-z0-9]{34})\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a login in a URL": re.compile(
        r"\bhttps?://[^\s/:@'\"{}<>$]+:[^\s/:@'\"{}<>$]+@(?![^/\s]*\b(?:example|test|invalid)\b|127\.)[\w-]+(?:\.[\w-]+)+"
    ),
}


def offences(root: Path) -> Iterator[str]:
    for name in tree_files(root):
        if name in EXCEPT:
            continue
        try:
            text = (root / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            for what, pattern in PATTERNS.items():
                match = pattern.search(line)
                if match:
                    yield f"{name}:{number}: {what}: {match.group(0)}"
