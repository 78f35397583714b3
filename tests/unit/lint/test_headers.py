# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files without their header are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import headers

LICENCE = "\n".join(headers.LICENCE) + "\n"


def test_only_files_without_their_header_are_found(plant: Callable[[dict[str, str]], Path]) -> None:
    root = plant(
        {
            "plugins/module_utils/_a/whole.py": LICENCE + headers.PRIVATE + "\n",
            "plugins/module_utils/_a/public.py": LICENCE,
            "plugins/module_utils/_a/__init__.py": "",
            "plugins/modules/half.py": LICENCE.splitlines()[0] + "\n",
            "tests/none.py": "x = 1\n",
            "README.md": "no header needed\n",
        }
    )
    assert [line.split(":")[0] for line in headers.offences(root)] == [
        "plugins/module_utils/_a/public.py",
        "plugins/modules/half.py",
        "tests/none.py",
    ]
