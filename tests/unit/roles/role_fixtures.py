# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles as Ansible sees them: their defaults and variables templated, their templates written."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, generate_ansible_template_vars, trust_as_template
from jinja2 import Environment
from sound_values import FACTS

# Variables of the roles use filters and lookups.

#: What the code of a template depends on, besides its text.
COMPILE_OPTIONS = (
    *("block_start_string", "block_end_string", "variable_start_string", "variable_end_string", "trim_blocks"),
    *("comment_start_string", "comment_end_string", "lstrip_blocks", "newline_sequence", "keep_trailing_newline"),
)
ROLES = Path(__file__).resolve().parents[3] / "roles"

_compile = Environment.compile
_compiled: dict[tuple[Any, ...], Any] = {}


def compile_once(environment: Environment, source: Any, name: Any = None, filename: Any = None, *args: Any) -> Any:
    """Compile a template, or return the code of an equal one: Ansible compiles each again for each Templar.

    Whether Ansible escapes backslashes is not part of the key: only the texts of whole files come without
    (:func:`render_template`), and no variable has such a text.
    """
    if args or not isinstance(source, str):
        return _compile(environment, source, name, filename, *args)
    options = tuple(getattr(environment, option) for option in COMPILE_OPTIONS)
    key = (type(environment), source, name, filename, *options)
    if key not in _compiled:
        _compiled[key] = _compile(environment, source, name, filename)
    return _compiled[key]


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes three quarters of the time of templating."""
    monkeypatch.setattr(Environment, "compile", compile_once)


Evaluate = Callable[..., Any]
Render = Callable[..., str]


@functools.cache
def declared(role: str, part: str) -> Mapping[str, Any]:
    """Return the variables of a part of a role, as Ansible reads them."""
    loaded: Mapping[str, Any] = DataLoader().load_from_file(
        str(ROLES / role / part / "main.yml"), trusted_as_template=True
    )
    return loaded


@pytest.fixture
def evaluate() -> Evaluate:
    """Return the value that a variable has in a role, given other values of its options and other facts.

    With ``bare`` there are no facts at all. ``groups`` has the hosts of each group, ``folder`` the files of
    the controller.
    """

    def value(
        role: str,
        name: str,
        *,
        facts: Optional[Mapping[str, Any]] = None,
        bare: bool = False,
        host: str = "node1",
        groups: Optional[Mapping[str, Any]] = None,
        folder: Optional[Path] = None,
        **options: Any,
    ) -> Any:
        loader = DataLoader()
        if folder:
            loader.set_basedir(str(folder))
        variables: dict[str, Any] = {}
        for part in ("defaults", "vars"):
            variables.update(declared(role, part))
        variables.update(
            options,
            ansible_facts={} if bare else {**FACTS, **(facts or {})},
            inventory_hostname=host,
            groups=groups or {},
            role_path=str(ROLES / role),
        )
        return Templar(loader=loader, variables=variables).template(variables[name])

    return value


def render_template(role: str, template: str, **options: Any) -> str:
    """Return the text of a role's template, made with Ansible's own engine in this process.

    ``tests/integration/collection/test_rendering.py`` compares the text with what the template module writes.
    """
    source = ROLES / role / "templates" / template
    variables: dict[str, Any] = {}
    for part in ("defaults", "vars"):
        variables.update(declared(role, part))
    variables.update(generate_ansible_template_vars(str(source)))
    variables.update(options_of_a_host(role, options))
    text = Templar(loader=DataLoader(), variables=variables).template(
        trust_as_template(source.read_text()), escape_backslashes=False
    )
    return str(text)


def options_of_a_host(role: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a role together with what Ansible would know of the host."""
    return {"ansible_facts": FACTS, "role_path": str(ROLES / role), **options}


@pytest.fixture
def render() -> Render:
    """Return the text of a role's template (:func:`render_template`)."""
    return render_template


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory for programs that a script calls, in place of those of the machine."""
    folder = tmp_path / "tools"
    folder.mkdir()
    return folder
