# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that writes a dictionary as a systemd unit file."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unit_text
short_description: Write a systemd unit file or drop-in
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Writes sections and their directives as systemd reads them.
  - A list writes a directive once for each element. Booleans become C(yes) and C(no). An empty string resets earlier values of the unit.
options:
  _input:
    description: Sections, each a dictionary of directives.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Override a unit
  vars:
    overrides:
      Service:
        MemoryMax: 40G
        PrivateUsers: false
  ansible.builtin.copy:
    content: "{{ overrides | legionio.ollama.unit_text }}"
    dest: /etc/systemd/system/web.service.d/50-overrides.conf
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
  sample: "[Service]\nMemoryMax=40G\nPrivateUsers=no\n"
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError


def unit_text(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of a unit file.

    :raises AnsibleFilterError: if a section is not a dictionary, or a value has a line break, which would start another directive.
    """
    lines: list[str] = []
    for section, directives in sections.items():
        if not isinstance(directives, Mapping):
            raise AnsibleFilterError(
                f"Section {section} of a unit must be a dictionary of directives, not {directives!r}."
            )
        lines.append(f"[{section}]")
        for name, values in directives.items():
            for value in values if isinstance(values, list) else [values]:
                text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
                if "\n" in text:
                    raise AnsibleFilterError(
                        f"{name} in section {section} of a unit has a line break: {text!r}. Use a list to set it several times."
                    )
                lines.append(f"{name}={text}")
        lines.append("")
    return "\n".join(lines)


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file by name."""
        return {"unit_text": unit_text}
