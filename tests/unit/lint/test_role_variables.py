# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role with one thing wrong is found out; the same role without it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import role_variables

SPECS = """
argument_specs:
  main:
    options:
      web_port: {type: int, default: 80, description: Port.}
      web_mode: {type: str, default: fast, choices: [fast, slow], description: Mode.}
      web_key: {type: str, required: true, description: Key.}
      web_tls_cert: {type: str, default: "{{ web_key }}", description: Certificate.}
      web_tls_port: {type: int, description: Port. One more than O(web_port).}
"""
DEFAULTS = "web_port: 80\nweb_mode: fast\nweb_tls_cert: '{{ web_key }}'\nweb_tls_port: '{{ web_port + 1 }}'\n"
TASKS = """
- name: Use
  tags: [web_install]
  vars: {__web_both: "{{ web_port }} {{ web_mode }}"}
  ansible.builtin.template:
    src: web_site.j2
    dest: "/{{ __web_both }}/{{ web_key }}/{{ web_tls_cert }}{{ web_tls_port }}"
  register: __web_written
"""
GOOD = {
    "roles/web/README.md": "web_port, web_mode, web_key and web_tls_*",
    "roles/web/defaults/main.yml": DEFAULTS,
    "roles/web/meta/argument_specs.yml": SPECS,
    "roles/web/meta/main.yml": "galaxy_info: {}",
    "roles/web/tasks/main.yml": TASKS,
}


def test_a_sound_role_is_left_alone(plant: Callable[[dict[str, str]], Path]) -> None:
    assert list(role_variables.offences(plant(GOOD))) == []


@pytest.mark.parametrize(
    "name, old, new, offence",
    [
        ("README.md", "web_port", "port", "web_port is not in the README"),
        ("defaults/main.yml", "80", "81", "web_port defaults to 81, and is documented as 80"),
        ("defaults/main.yml", "web_port: 80\n", "", "web_port is documented, and defaults/main.yml lacks it"),
        ("defaults/main.yml", "web_mode", "web_more: 1\nweb_mode", "web_more has a default, and"),
        ("defaults/main.yml", "web_mode", "web_key: x\nweb_mode", "web_key is required and has a default all the same"),
        ("meta/argument_specs.yml", "choices: [fast", "choices: [swift", "'fast', which is not one of its choices"),
        ("meta/argument_specs.yml", "type: int", "type: bool", "web_port defaults to 80, which is not a bool"),
        ("meta/argument_specs.yml", "type: int, ", "", "web_port has no type"),
        ("meta/argument_specs.yml", ", description: Port.", "", "web_port has no description"),
        (
            "meta/argument_specs.yml",
            "int, description: Port. One",
            "int, default: 81, description: O",
            "is computed from",
        ),
        ("meta/argument_specs.yml", "main:\n    opt", "other:\n    opt", "has no entry point main"),
        ("tasks/main.yml", "{{ web_mode }}", "", "web_mode is used by nothing in the role"),
        ("tasks/main.yml", "{{ web_mode }}", "{{ web_mode }} {{ web_prot }}", "web_prot is used, and is not an option"),
        (
            "tasks/main.yml",
            "{{ __web_both }}",
            "{{ __web_boht }}",
            "__web_boht is used, and nothing in the role sets it",
        ),
    ],
)
def test_each_slip_is_named(
    plant: Callable[[dict[str, str]], Path], name: str, old: str, new: str, offence: str
) -> None:
    path = f"roles/web/{name}"
    assert old in GOOD[path]
    found = list(role_variables.offences(plant({**GOOD, path: GOOD[path].replace(old, new, 1)})))
    assert any(offence in line for line in found), found


TABLE = """
| variable | default | |
|---|---|---|
| `web_port`, `web_mode` | `80`, `fast` | with `web_tls_port` |
| `web_tls_cert` | that of the key | |
"""


@pytest.mark.parametrize(
    "old, new, offence",
    [
        ("", "", None),
        ("`80`", "`81`", "web_port defaults to 80, and the README has 81"),
        ("`80`", "none", "web_port defaults to 80, and the README has no value"),
        ("`80`, `fast`", "the usual ones", "web_port defaults to 80, and the README has no value"),
        ("`80`, `fast`", "`fast`", "web_port defaults to 80, and the README has fast"),
        ("`80`, `fast`", "`80`, `fast`, `slow`", "the README has 3 defaults for web_port, web_mode"),
        ("that of the key", "`a`", "web_tls_cert defaults to '{{ web_key }}', and the README has a"),
        ("`web_tls_port`", "`web_mode` (`slow`)", "web_mode defaults to 'fast', and the README has slow"),
    ],
)
def test_a_default_of_the_table_is_compared(
    plant: Callable[[dict[str, str]], Path], old: str, new: str, offence: str | None
) -> None:
    readme = GOOD["roles/web/README.md"] + TABLE.replace(old, new)
    found = list(role_variables.offences(plant({**GOOD, "roles/web/README.md": readme})))
    assert found[:1] == ([] if offence is None else [f"roles/web: {offence}"])


def test_an_option_of_another_name_is_found(plant: Callable[[dict[str, str]], Path]) -> None:
    files = {name: text.replace("web_key", "site_key") for name, text in GOOD.items()}
    assert "roles/web: site_key does not begin with web_" in list(role_variables.offences(plant(files)))


def test_a_missing_file_is_found(plant: Callable[[dict[str, str]], Path]) -> None:
    files = {name: text for name, text in GOOD.items() if not name.endswith("meta/main.yml")}
    assert list(role_variables.offences(plant(files))) == ["roles/web: meta/main.yml is missing"]
