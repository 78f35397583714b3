# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that checks on the controller what an import of models, and the service that shares them, would refuse."""

from __future__ import annotations

DOCUMENTATION = r"""
name: import_problems
short_description: Find the problems of the values for an import of models
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Checks names and patterns of models, addresses of peers, and rules and keys of signatures, with the code that the import itself uses.
  - With this filter, the role P(legionio.ollama.ollama_models#role) refuses a value that the import would refuse, before anything on a node changes.
options:
  _input:
    description: For each kind of values (C(names), C(patterns), C(addresses), C(listen), C(rules) and C(keys)), the variables of that kind by their names.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse a name that no model can have
  vars:
    values: {names: {ollama_models_names: ["llama3:"]}}
  ansible.builtin.assert:
    that: values | legionio.ollama.import_problems == []
"""

RETURN = r"""
_value:
  description: A sentence for each problem, without a full stop.
  type: list
  elements: str
  sample: ["ollama_models_names: 'llama3:' is not a model name; Write it as [host/][namespace/]model[:tag]"]
"""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.neighbour import parse_address
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.signing.keys import PublicKey
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.patterns import NamePattern


def listen(text: str) -> None:
    """Refuse a text that is not an IP address.

    :raises ValueError: if it is not.
    """
    if "%" in text:
        raise ValueError(f"{text!r} has a zone")
    ipaddress.ip_address(text)


#: What refuses a value of each kind.
CHECKS: Mapping[str, Callable[[Any], object]] = {
    "addresses": parse_address,
    "keys": PublicKey.parse,
    "listen": listen,
    "names": ModelName.parse,
    "patterns": NamePattern.parse,
    "rules": lambda rule: NamePattern.parse(rule["models"]),
}


def import_problems(values: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each problem."""
    return list(problems(values))


def problems(values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each value that is refused."""
    for kind, variables in values.items():
        for variable, value in variables.items():
            for one in [value] if isinstance(value, str) else value:
                try:
                    CHECKS[kind](one)
                except CollectionError as error:
                    yield f"{variable}: {error.message}{f'; {error.remedy}' if error.remedy else ''}"
                except ValueError as error:
                    yield f"{variable}: {error}"


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file by name."""
        return {"import_problems": import_problems}
