# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The YAML that documents tell users to write names only modules, options and role variables that exist."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tree import tree_files

# Indented in a step of a list.
BLOCK = re.compile(r"^( *)```ya?ml\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
OURS = "legionio.ollama."


def constant(path: Path, wanted: str) -> str:
    """The text assigned to a name anywhere in a Python file; empty when there is none."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == [wanted]:
            return str(ast.literal_eval(node.value))
    return ""


@cache
def module_options(root: Path, module: str) -> frozenset[str]:
    """Every name and alias of a module's documented options; empty when there is no such module."""
    path = root / "plugins/modules" / f"{module}.py"
    if not path.exists():
        return frozenset()
    documented = yaml.safe_load(constant(path, "DOCUMENTATION"))
    parts = [documented]
    for fragment in documented.get("extends_documentation_fragment", []):
        name, _dot, variant = fragment[len(OURS) :].partition(".")
        source = root / "plugins/doc_fragments" / f"{name}.py"
        parts.append(yaml.safe_load(constant(source, variant.upper() or "DOCUMENTATION")))
    names: set[str] = set()
    for part in parts:
        for name, option in ((part or {}).get("options") or {}).items():
            names.update([name, *option.get("aliases", [])])
    return frozenset(names)


@cache
def role_variables(root: Path) -> dict[str, frozenset[str]]:
    """The variables of each role."""
    specs = {path.parent.parent.name: path for path in root.glob("roles/*/meta/argument_specs.yml")}
    return {
        role: frozenset(yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"])
        for role, path in specs.items()
    }


def unknown(root: Path, value: Any) -> Iterator[str]:
    """What a snippet names that does not exist."""
    if isinstance(value, list):
        for item in value:
            yield from unknown(root, item)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if isinstance(key, str) and key.startswith(OURS):
            options = module_options(root, key[len(OURS) :])
            if not options:
                yield f"there is no module {key}"
            elif isinstance(inner, dict):
                yield from (f"{key} has no option {name}" for name in inner if name not in options)
            continue
        for role, variables in role_variables(root).items():
            if isinstance(key, str) and key.startswith(f"{role}_") and key not in variables:
                yield f"the role {role} has no variable {key}"
        yield from unknown(root, inner)


def offences(root: Path) -> Iterator[str]:
    for name in tree_files(root):
        if not name.endswith(".md"):
            continue
        text = (root / name).read_text()
        for block in BLOCK.finditer(text):
            number = text[: block.start()].count("\n") + 1
            try:
                snippet = yaml.safe_load(textwrap.dedent(block.group(2)))
            except yaml.YAMLError as error:
                yield f"{name}:{number}: not YAML: {' '.join(str(error).split())}"
                continue
            yield from (f"{name}:{number}: {what}" for what in unknown(root, snippet))
