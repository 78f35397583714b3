# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that compares what a RabbitMQ has with what it should have."""

from __future__ import annotations

DOCUMENTATION = r"""
name: broker_changes
short_description: What has to change at a RabbitMQ
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Compares definitions, as C(rabbitmqctl export_definitions) writes them, with what one virtual host should have, and returns what has to
    change, as definitions for C(rabbitmqctl import_definitions).
  - A password is compared with the hash that the broker keeps, so that the same password is not a change.
positional: wanted
options:
  _input:
    description: The definitions of the broker. Empty for a broker that is not there yet.
    type: dict
    required: true
  wanted:
    description:
      - "What should be there, with the keys C(vhost), C(users) (name to C(password), C(configure), C(write) and C(read)), C(exchanges) (name to
        type), C(queues) (name to type), C(bindings) (C(source), C(destination), C(routing_key)), C(policies) (name to C(pattern), C(definition)
        and optionally C(apply_to) and C(priority)) and C(absent_users)."
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Compare
  ansible.builtin.set_fact:
    plan: "{{ exported.stdout | from_json | legionio.ollama.broker_changes(wanted) }}"
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    changes:
      description: One text for each change, without secrets.
      type: list
      elements: str
      sample: ["the user fleet-worker: its password"]
    problems:
      description: What no import can change.
      type: list
      elements: str
    definitions:
      description: What to import. It has hashes of passwords.
      type: dict
    absent_users:
      description: Users to delete.
      type: list
      elements: str
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.legionio.ollama.plugins.plugin_utils._broker_definitions import Plan


def broker_changes(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has to change."""
    return Plan(current, wanted).as_dict()


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file by name."""
        return {"broker_changes": broker_changes}
