# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that compares a RabbitMQ broker with its wanted state."""

from __future__ import annotations

DOCUMENTATION = r"""
name: broker_changes
short_description: Plan the changes of a RabbitMQ broker
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Compares definitions from C(rabbitmqctl export_definitions) with the wanted state of one virtual host, and returns the changes as
    definitions for C(rabbitmqctl import_definitions).
  - Compares passwords with the hashes of the broker, so that the same password is not a change.
positional: wanted
options:
  _input:
    description: The definitions of the broker. Empty for a broker that does not exist yet.
    type: dict
    required: true
  wanted:
    description:
      - "The wanted state, with the keys C(vhost), C(users) (name to C(password), C(configure), C(write) and C(read)), C(exchanges) (name to
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
      description: Differences that no import can change.
      type: list
      elements: str
    definitions:
      description: The definitions to import. They contain hashes of passwords.
      type: dict
    absent_users:
      description: Users to delete.
      type: list
      elements: str
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.legionio.ollama.plugins.plugin_utils._broker_definitions import BrokerPlan


def broker_changes(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan of the changes."""
    return BrokerPlan(current, wanted).as_dict()


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file by name."""
        return {"broker_changes": broker_changes}
