# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Option groups and action groups: disjoint, complete, and accepted by every module that is in one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.legionio.ollama.plugins.module_utils._module import groups
from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import ArgumentSpec

ROOT = Path(__file__).resolve().parents[3]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
PREFIX = "ansible_collections.legionio.ollama.plugins.modules"

# Each action group of meta/runtime.yml, and the option group whose defaults it is there for.
OPTIONS_OF: dict[str, ArgumentSpec] = {
    "fleet": groups.BROKER,
    "progress": groups.PROGRESS,
    "s3": groups.S3,
    "server": groups.SERVER,
}

Specs = Mapping[str, Mapping[str, Any]]


def shared_names(option_groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names, aliases included, that two groups have."""
    names = {
        group: set(options) | {alias for option in options.values() for alias in option.get("aliases", [])}
        for group, options in option_groups.items()
    }
    return [
        f"{name} is in {left} and in {right}"
        for left, right in combinations(sorted(names), 2)
        for name in sorted(names[left] & names[right])
    ]


def group_offences(specs: Specs, action_groups: Mapping[str, list[str]], options_of: Specs) -> list[str]:
    """Modules that miss an option of their action group, or that have all of a group's options and are not in it."""
    found: list[str] = []
    for group, options in options_of.items():
        members = action_groups.get(group, [])
        found.extend(f"{group} lists {name}, which is not a module" for name in members if name not in specs)
        for name, spec in specs.items():
            lacking = sorted(set(options) - set(spec))
            if name in members and lacking:
                found.append(f"{name} is in {group} and does not take {', '.join(lacking)}")
            if name not in members and not lacking:
                found.append(f"{name} takes all options of {group} and is not in it")
    found.extend(f"the action group {group} has no options" for group in action_groups if group not in options_of)
    return found


def spec_of(module: str, monkeypatch: pytest.MonkeyPatch) -> ArgumentSpec:
    """The spec that a module's main() hands to run()."""
    loaded = importlib.import_module(f"{PREFIX}.{module}")
    handed: list[ArgumentSpec] = []
    monkeypatch.setattr(loaded, "run", lambda spec, *_args, **_kwargs: handed.append(spec))
    loaded.main()
    (spec,) = handed
    return spec


def documented_groups(module: str) -> set[str]:
    """The action groups that a module's documentation says it is in."""
    loaded = importlib.import_module(f"{PREFIX}.{module}")
    fragments = yaml.safe_load(loaded.DOCUMENTATION).get("extends_documentation_fragment", [])
    mark = "legionio.ollama._attributes.actiongroup_"
    return {fragment[len(mark) :] for fragment in fragments if fragment.startswith(mark)}


def action_groups() -> dict[str, list[str]]:
    groups_of: dict[str, list[str]] = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
    return groups_of


def test_a_name_belongs_to_one_option_group() -> None:
    specs = {name: spec.argument_spec for name, spec in vars(groups).items() if isinstance(spec, ArgumentSpec)}
    assert set(specs) >= {"BROKER", "S3", "SERVER", "STORE"}
    assert shared_names(specs) == []


def test_action_groups_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = {module: spec_of(module, monkeypatch).argument_spec for module in MODULES}
    options_of = {group: spec.argument_spec for group, spec in OPTIONS_OF.items()}
    assert group_offences(specs, action_groups(), options_of) == []


def test_documentation_names_the_action_groups() -> None:
    members = action_groups()
    in_fact = {module: {group for group in members if module in members[group]} for module in MODULES}
    assert {module: documented_groups(module) for module in MODULES} == in_fact


def test_a_shared_name_is_found() -> None:
    left: dict[str, Any] = {"host": {}, "timeout": {}}
    right: dict[str, Any] = {"broker": {"aliases": ["host"]}, "port": {}}
    assert shared_names({"a": left, "b": right}) == ["host is in a and in b"]


@pytest.mark.parametrize(
    "members, offence",
    [
        ({"s3": []}, "whole takes all options of s3 and is not in it"),
        ({"s3": ["whole", "half"]}, "half is in s3 and does not take prefix"),
        ({"s3": ["whole", "gone"]}, "s3 lists gone, which is not a module"),
        ({"s3": ["whole"], "other": []}, "the action group other has no options"),
    ],
)
def test_a_wrong_action_group_is_found(members: dict[str, list[str]], offence: str) -> None:
    specs: dict[str, dict[str, Any]] = {"whole": {"bucket": {}, "prefix": {}, "x": {}}, "half": {"bucket": {}}}
    options: dict[str, dict[str, Any]] = {"s3": {"bucket": {}, "prefix": {}}}
    assert group_offences(specs, members, options) == [offence]
    assert group_offences(specs, {"s3": ["whole"]}, options) == []
