# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's variables: documented, defaulted, named and used, without one that is only half there.

For each role, and each option of `meta/argument_specs.yml`:

- the documented default is the one of `defaults/main.yml`, and neither file has a variable that the other lacks, unless
  it is required;
- its name begins with the role's name, and its default fits its type and choices;
- something in the role uses it, and the role's README names it (or its family, as `<role>_s3_*`);
- the default that the README's table has for it is that of `defaults/main.yml`;
- every variable that looks like one of the role's is declared: `<role>_*` as an option, `__<role>_*` where it is set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import yaml

FILES = ("README.md", "defaults/main.yml", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml")
TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "dict": (dict,),
    "float": (int, float),
    "int": (int,),
    "list": (list,),
    "path": (str,),
    "str": (str,),
}


def offences(root: Path) -> Iterator[str]:
    for role in sorted(path for path in (root / "roles").glob("*") if path.is_dir()):
        missing = [name for name in FILES if not (role / name).is_file()]
        for name in missing:
            yield f"roles/{role.name}: {name} is missing"
        if {"defaults/main.yml", "meta/argument_specs.yml"}.isdisjoint(missing):
            for offence in role_offences(role):
                yield f"roles/{role.name}: {offence}"


def role_offences(role: Path) -> Iterator[str]:
    specs: dict[str, Any] = read(role / "meta/argument_specs.yml")["argument_specs"]
    defaults: dict[str, Any] = read(role / "defaults/main.yml") or {}
    if "main" not in specs:
        yield "meta/argument_specs.yml has no entry point main"
        return
    options: dict[str, Any] = {}
    for entry in specs.values():
        options.update(entry.get("options", {}))
    for name in sorted(set(defaults) - set(options)):
        yield f"{name} has a default, and meta/argument_specs.yml does not know it"
    readme = (role / "README.md").read_text() if (role / "README.md").exists() else ""
    families = re.findall(rf"\b({role.name}_\w+_)\*", readme)
    used = set(re.findall(r"\w+", sources(role)))
    for name, option in options.items():
        if not name.startswith(f"{role.name}_"):
            yield f"{name} does not begin with {role.name}_"
        if not option.get("description"):
            yield f"{name} has no description"
        yield from default_offences(name, option, defaults)
        if name not in used:
            yield f"{name} is used by nothing in the role"
        if name not in readme and not any(name.startswith(family) for family in families):
            yield f"{name} is not in the README"
    yield from table_offences(readme, defaults)
    yield from undeclared(role, set(options))


def table_offences(readme: str, defaults: dict[str, Any]) -> Iterator[str]:
    """Defaults in the README's table that are not those of `defaults/main.yml`.

    A cell has a value for each variable of its row, or one for all of them. A cell of words, or an empty cell, stands
    for a default that is empty, a mapping, or computed from other variables.
    """
    for table in re.findall(r"^\| variable \| default \|.*\n\|[-| ]+\|\n((?:\|.*\n?)+)", readme, re.MULTILINE):
        for names, shown, text in re.findall(r"^\|(.+?)\|(.*?)\|(.*)\|$", table, re.MULTILINE):
            variables = re.findall(r"`(\w+)`", names)
            values = cell_values(shown)
            if len(values) not in (1, len(variables)):
                yield f"the README has {len(values)} defaults for {', '.join(variables)}"
                continue
            pairs = list(zip(variables, values * len(variables) if len(values) == 1 else values))
            # `with <variable> (<default>)`
            pairs += re.findall(r"`(\w+)` \(`([^`]+)`\)", text)
            for name, value in pairs:
                if name in defaults and not shows(value, defaults[name]):
                    yield f"{name} defaults to {defaults[name]!r}, and the README has {value or 'no value'}"


def cell_values(cell: str) -> list[Optional[str]]:
    """The values of a cell, each between backticks, or None for `none`; one None for words and for an empty cell."""
    value = r"(?:`[^`]+`|none)"
    if not re.fullmatch(rf" {value}(?:, {value})* ", cell):
        return [None]
    return [None if part == "none" else part.strip("`") for part in re.findall(value, cell)]


def shows(value: Optional[str], default: Any) -> bool:
    if value is None:
        return default in ("", [], None) or isinstance(default, dict) or (isinstance(default, str) and "{{" in default)
    parsed = yaml.safe_load(value)
    return value == default or (parsed == default and isinstance(parsed, bool) == isinstance(default, bool))


def default_offences(name: str, option: dict[str, Any], defaults: dict[str, Any]) -> Iterator[str]:
    if "type" not in option:
        yield f"{name} has no type"
    if option.get("required"):
        if name in defaults:
            yield f"{name} is required and has a default all the same"
        return
    if name not in defaults:
        yield f"{name} is documented, and defaults/main.yml lacks it"
        return
    value = defaults[name]
    kind = option.get("type", "str")
    if isinstance(value, str) and "{{" in value and kind not in {"path", "raw", "str"}:
        # A default that other variables decide, and that no documentation of this type can hold: the text must tell it.
        if "default" in option:
            yield f"{name} is computed from other variables, and is documented as {option['default']!r}"
        return
    if value != option.get("default") or isinstance(value, bool) != isinstance(option.get("default"), bool):
        yield f"{name} defaults to {value!r}, and is documented as {option.get('default')!r}"
    if value is None or (isinstance(value, str) and "{{" in value):
        return
    if kind in TYPES and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "bool")):
        yield f"{name} defaults to {value!r}, which is not a {kind}"
    choices = option.get("choices")
    wrong = [item for item in (value if isinstance(value, list) else [value]) if item not in (choices or [item])]
    if wrong:
        yield f"{name} defaults to {wrong[0]!r}, which is not one of its choices"


def undeclared(role: Path, options: set[str]) -> Iterator[str]:
    """Variables that carry the role's name and that nobody declares: a slip of the pen, or a secret option."""
    declared = options | declared_inside(role) | tags(role)
    # Not the names of files and templates, and not parts of other names.
    name_of_role = rf"(?<![\w./-])(?:__)?{role.name}_\w+\b(?!\.(?:j2|ya?ml|py|service|sh)\b)"
    for name in sorted(set(re.findall(name_of_role, sources(role))) - declared):
        if name.startswith("__"):
            yield f"{name} is used, and nothing in the role sets it"
        else:
            yield f"{name} is used, and is not an option of meta/argument_specs.yml (inner variables begin with __)"


def tags(role: Path) -> set[str]:
    """Tags carry the role's name too."""
    found: set[str] = set()
    for line in re.findall(r"^\s*tags:(.*(?:\n\s*- \w+$)*)", sources(role), re.MULTILINE):
        found.update(re.findall(r"\w+", line))
    return found


def declared_inside(role: Path) -> set[str]:
    """Inner variables: of vars/, registered, set as facts, of loops, of `vars:`, and set in templates."""
    found: set[str] = set()
    for path in (role / "vars").glob("*.yml"):
        found.update(read(path) or {})
    for folder in ("tasks", "handlers"):
        for path in (role / folder).rglob("*.yml"):
            found.update(set_by(read(path)))
    found.update(re.findall(r"\{%-?\s*set\s+(\w+)", sources(role)))
    found.update(re.findall(r"\{%-?\s*macro\s+(\w+)", sources(role)))
    return {name for name in found if name.startswith(f"__{role.name}_")}


def set_by(node: Any) -> Iterator[str]:
    """The variables that a parsed task file sets, anywhere in it."""
    if isinstance(node, list):
        for item in node:
            yield from set_by(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in {"register", "loop_var", "index_var"} and isinstance(value, str):
                yield value
            elif key in {"vars", "set_fact", "ansible.builtin.set_fact"} and isinstance(value, dict):
                yield from value
            yield from set_by(value)


def sources(role: Path) -> str:
    """What may use a variable: tasks, handlers, templates and inner variables."""
    folders = ("tasks", "handlers", "templates", "vars")
    paths = [path for folder in folders for path in sorted((role / folder).rglob("*"))]
    return "\n".join(path.read_text() for path in paths if path.is_file())


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())
