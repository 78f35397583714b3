# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared rooms import on a Python that has nothing but its standard library, under whatever parent."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rules

ROOT = Path(__file__).resolve().parents[3]

# -I and -S: no environment, no site-packages. The rooms' parent folder is the only thing on the path besides.
IMPORT_ALL = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for absent in ("requests", "urllib3", "boto3", "botocore", "pika", "ansible"):
    try:
        importlib.import_module(absent)
    except ImportError:
        continue
    sys.exit("not bare: " + absent + " is there")
for name in sys.argv[2:]:
    importlib.import_module(name)
print(len(sys.argv[2:]))
"""


def module_names(folder: Path, prefix: str) -> list[str]:
    names = []
    for room in rules.MAY_IMPORT:
        for path in rules.python_files(folder / room):
            parts = path.relative_to(folder).with_suffix("").parts
            names.append(prefix + ".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def import_all(parent: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", IMPORT_ALL, str(parent), *names],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    "parent, prefix",
    [
        (ROOT.parents[2], "ansible_collections.legionio.ollama.plugins.module_utils."),
        # Any other parent will do: the daemon's package is one.
        (ROOT / "plugins", "module_utils."),
    ],
)
def test_every_module_of_the_rooms_imports(parent: Path, prefix: str) -> None:
    names = module_names(ROOT / rules.UTILS, prefix)
    assert len(names) > 10
    result = import_all(parent, names)
    assert result.stdout.strip() == str(len(names)), result.stdout


def test_a_module_that_needs_a_package_to_import_is_found(tmp_path: Path) -> None:
    utils = tmp_path / "utils"
    shutil.copytree(ROOT / rules.UTILS, utils)
    (utils / "_ollama/needy.py").write_text("import requests\n")
    result = import_all(tmp_path, module_names(utils, "utils."))
    assert result.returncode != 0
    assert "No module named 'requests'" in result.stdout
