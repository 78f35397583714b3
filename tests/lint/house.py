# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This project's own checks: what no linter knows. Prints one line for each offence and fails if there is one.

usage: python tests/lint/house.py [ROOT]
"""

from __future__ import annotations

import sys
from pathlib import Path

import documents
import headers
import leaks
import role_variables
import snippets
import wording

CHECKS = (
    role_variables.offences,
    headers.offences,
    leaks.offences,
    documents.offences,
    snippets.offences,
    wording.offences,
)


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    found = [offence for check in CHECKS for offence in check(root)]
    for offence in found:
        print(offence)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
