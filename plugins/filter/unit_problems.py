# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that finds the problems of a dictionary as a systemd unit file."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unit_problems
short_description: Find the problems of a dictionary as a systemd unit file
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Returns a sentence for each section and directive that P(legionio.ollama.unit_text#filter) could not write, or that systemd would
    read as another section or directive.
options:
  _input:
    description: Sections, each a dictionary of directives.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse overrides that cannot be written
  ansible.builtin.assert:
    that: "{'Service': {'MemoryMax': '40G'}} | legionio.ollama.unit_problems == []"
"""

RETURN = r"""
_value:
  description: The sentences, without a full stop.
  type: list
  elements: str
  sample: ["section Service is not a dictionary of directives"]
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Callable


def unit_problems(sections: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each section and directive that cannot be written."""
    return list(problems(sections))


def problems(sections: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each problem."""
    for section, directives in sections.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", str(section)):
            yield f"{str(section)[:60]!r} is not the name of a section"
        elif not isinstance(directives, Mapping):
            yield f"section {section} is not a dictionary of directives"
        else:
            for name, values in directives.items():
                if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", str(name)):
                    yield f"{str(name)[:60]!r} in section {section} is not the name of a directive"
                for value in values if isinstance(values, (list, tuple)) else [values]:
                    if not isinstance(value, (str, int, float)):
                        yield f"{name} in section {section} has a value that is not a text, number or boolean"
                    elif isinstance(value, str) and re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
                        yield f"{name} in section {section} has a line break; use a list to set it several times"


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file by name."""
        return {"unit_problems": unit_problems}
