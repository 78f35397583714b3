# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.

from __future__ import annotations


class ModuleDocFragment:
    """Options of group server (plugins/module_utils/_module/groups.py)."""

    DOCUMENTATION = r"""
options:
  host:
    description:
      - Where the Ollama server listens, in any form that E(OLLAMA_HOST) may have, for example C(gpu-01), C(gpu-01:11434) or C(https://ollama.example.com).
      - If not set, the environment variable E(OLLAMA_HOST) is asked.
    type: str
    default: http://127.0.0.1:11434
  timeout:
    description: How long the server may stay silent, in seconds.
    type: float
    default: 300
  retries:
    description: How often a request that could not be sent, or was not answered in time, is tried again.
    type: int
    default: 3
  headers:
    description:
      - Headers sent with each request, for example those that a proxy in front of Ollama wants to see.
      - All values are treated as secrets.
    type: dict
  validate_certs:
    description: Whether the certificate of the server must be valid.
    type: bool
    default: true
  ca_path:
    description: File with the certificates of the authorities that may have signed the server's certificate.
    type: path
  client_cert:
    description: File with the certificate, and the key unless O(client_key) is set, that proves who asks.
    type: path
  client_key:
    description: File with the private key that belongs to O(client_cert).
    type: path
requirements:
  - requests >= 2.25 where the module runs
"""
