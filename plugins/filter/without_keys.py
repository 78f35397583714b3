# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that leaves keys out of a nested configuration."""

from __future__ import annotations

DOCUMENTATION = r"""
name: without_keys
short_description: Leave keys out of a nested configuration
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Returns a copy of a dictionary without some keys, at any level. A path that does not exist changes nothing.
  - The role P(legionio.ollama.fleet_worker#role) uses it to go back to a release that does not know all of the present keys.
positional: paths
options:
  _input:
    description: The configuration.
    type: dict
    required: true
  paths:
    description: The keys, each with the keys above it and the positions in lists, joined by dots, such as V(lanes.0.deadline).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Leave a key out
  ansible.builtin.assert:
    that: "{'a': 1, 'b': {'c': 2, 'd': 3}} | legionio.ollama.without_keys(['a', 'b.c']) == {'b': {'d': 3}}"
"""

RETURN = r"""
_value:
  description: The copy.
  type: dict
  sample: {b: {d: 3}}
"""

from collections.abc import Mapping, Sequence
from typing import Any, Callable


def without_keys(config: Any, paths: Sequence[str]) -> Any:
    """Return a copy of a configuration without some keys.

    :param paths: the keys, each with the keys above it, joined by dots.
    """
    gone = {path for path in paths if "." not in path}
    below = [path.partition(".")[::2] for path in paths if "." in path]
    if isinstance(config, Mapping):
        return {
            key: without_keys(value, [rest for first, rest in below if first == str(key)])
            for key, value in config.items()
            if str(key) not in gone
        }
    if isinstance(config, (list, tuple)):
        return [
            without_keys(value, [rest for first, rest in below if first == str(index)])
            for index, value in enumerate(config)
        ]
    return config


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file by name."""
        return {"without_keys": without_keys}
