# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the drills read from the output of ansible-playbook, and the values that they try."""

from __future__ import annotations

import re

import pytest
from every_tag import LEFT, OTHER, PLAYBOOKS, Run, other_value, plain, variables_of

ROLES = PLAYBOOKS["legionio.ollama.provision_fleet"][0]

RECAP = (
    "\x1b[0;33mnode1\x1b[0m : \x1b[0;32mok=114 \x1b[0m \x1b[0;33mchanged=4   \x1b[0m unreachable=0    failed=0\n"
    "\x1b[0;33mnode2\x1b[0m : \x1b[0;32mok=114 \x1b[0m \x1b[0;33mchanged=3   \x1b[0m unreachable=0    failed=0\n"
)


def test_changes_of_all_hosts_are_counted_in_coloured_output() -> None:
    assert Run(0, plain(RECAP), 1.0).changed == 7


def test_message_of_a_failure_is_found_in_coloured_output() -> None:
    output = "\x1b[0;31m[ERROR]: Task failed: the key is unknown\x1b[0m\n\x1b[0;31mOrigin: a file\x1b[0m\n"
    assert Run(2, plain(output), 1.0).message == "Task failed: the key is unknown"


@pytest.mark.parametrize("role", ROLES)
def test_drill_knows_another_value_of_each_variable_or_why_it_leaves_the_variable(role: str) -> None:
    for name, spec in variables_of(role).items():
        other_value(name, spec, spec.get("default"))  # raises LookupError


def test_drill_names_only_variables_of_the_roles() -> None:
    names = {name for role in ROLES for name in variables_of(role)}
    assert set(OTHER) <= names
    assert not set(OTHER) & {name for name in names if any(re.fullmatch(pattern, name) for pattern in LEFT)}
