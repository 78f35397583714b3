# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that checks a configuration of worker or gateway on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: config_problems
short_description: Find the problems of a configuration of worker or gateway
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Checks a configuration of the fleet worker, of its updates, or of the gateway, or the keys of the gateway, as thoroughly as the services do, but
    without their packages.
  - With this filter, the role P(legionio.ollama.fleet_worker#role) refuses a configuration that the worker would refuse, before anything on a node changes.
positional: schema, variables
options:
  _input:
    description: The configuration.
    type: dict
    required: true
  schema:
    description: The JSON schema that the service's own classes have generated.
    type: dict
    required: true
  variables:
    description:
      - The variable that a key's value comes from, for each key of the configuration, with dots between levels.
      - The longest matching key applies, and V(*) to all other keys.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Refuse a configuration that the worker would refuse
  vars:
    config: {broker: {addresses: [hub]}, lanes: [{type: chat, model: llama3, deadline: -1}]}
    schema: "{{ (lookup('ansible.builtin.file', 'config_schemas.json') | from_json).worker }}"
  ansible.builtin.assert:
    that: config | legionio.ollama.config_problems(schema) == []
"""

RETURN = r"""
_value:
  description: A sentence for each problem, without a full stop.
  type: list
  elements: str
  sample: ["fleet_worker_lanes (lanes.0.deadline) must be more than 0, but is -1"]
"""

from collections.abc import Mapping
from typing import Any, Callable, Optional

from ansible_collections.legionio.ollama.plugins.plugin_utils._worker_config import config_problems as problems_of

#: The most problems that one run reports.
MOST = 20


def config_problems(
    config: Mapping[str, Any], schema: Mapping[str, Any], variables: Optional[Mapping[str, str]] = None
) -> list[str]:
    """Return a sentence for each problem."""
    found = problems_of(config, schema)
    return [f"{source_of(key, variables or {})} {what}" for key, what in found[:MOST]]


def source_of(key: str, variables: Mapping[str, str]) -> str:
    """Return the variable that a key's value comes from, with the key."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        name = variables.get(".".join(parts[:length]))
        if name:
            return f"{name} ({key})"
    return f"{variables['*']} ({key})" if "*" in variables else key


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file by name."""
        return {"config_problems": config_problems}
