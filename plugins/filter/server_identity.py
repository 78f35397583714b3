# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that returns the identity of an Ollama server for its address."""

from __future__ import annotations

DOCUMENTATION = r"""
name: server_identity
short_description: Reduce an address of an Ollama server to its identity
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Returns the same text for two addresses if they mean the same Ollama server, seen from one machine. All names of the machine's loopback
    are one, a missing port is filled in, and the scheme does not count.
  - A starting worker uses the same rule to find another worker for its server.
options:
  _input:
    description: The address, in any form of C(OLLAMA_HOST).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse two names of one server
  ansible.builtin.assert:
    that: "'http://localhost:11434' | legionio.ollama.server_identity != other_server | legionio.ollama.server_identity"
"""

RETURN = r"""
_value:
  description: The identity; a text that is not an address is returned unchanged.
  type: str
  sample: localhost:11434
"""

from typing import Any, Callable

from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.hosts import parse_host


def server_identity(address: str) -> str:
    """Return the identity of an Ollama server."""
    try:
        return parse_host(address).identity
    except CollectionError:
        return address


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file by name."""
        return {"server_identity": server_identity}
