# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that finds misspelt variable names."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unknown_names
short_description: Find unknown names, with the nearest known name
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Returns the names of a list that are not among the known ones, each with the most similar known name.
  - With this filter, the roles of this collection refuse misspelt variables before they change anything.
positional: known
options:
  _input:
    description: The names to check.
    type: list
    elements: str
    required: true
  known:
    description: The known names, as a list or as the keys of a dictionary.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse variables that the role does not know
  vars:
    unknown: "{{ query('ansible.builtin.varnames', '^web_') | legionio.ollama.unknown_names(['web_port', 'web_root']) }}"
  ansible.builtin.assert:
    that: unknown | length == 0
    fail_msg: "Unknown variables: {{ unknown | join(', ') }}."
"""

RETURN = r"""
_value:
  description: The unknown names, sorted, each with a suggestion if a known name is similar enough.
  type: list
  elements: str
  sample: ["web_ports (did you mean web_port?)"]
"""

import difflib
from collections.abc import Iterable
from typing import Any, Callable


def unknown_names(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the names that are not in ``known``, each with the nearest known name."""
    known = list(known)
    return [described(name, known) for name in sorted(set(names) - set(known))]


def described(name: str, known: list[str]) -> str:
    """Return the name, with a suggestion if a known name is similar enough."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"{name} (did you mean {near[0]}?)" if near else name


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file by name."""
        return {"unknown_names": unknown_names}
