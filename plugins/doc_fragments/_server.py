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
      - Address of the Ollama server, in any form of E(OLLAMA_HOST), for example C(gpu-01), C(gpu-01:11434) or C(https://ollama.example.com).
      - If not set, E(OLLAMA_HOST) is used.
      - The module sends a user name and password in front of the host as an C(Authorization) header, and keeps them out of logs and results.
      - The module uses the proxy of E(HTTP_PROXY), E(HTTPS_PROXY) and E(NO_PROXY), except for addresses of the machine itself.
    type: str
    default: http://127.0.0.1:11434
  timeout:
    description:
      - How many seconds the server may send nothing.
      - The server sends nothing while it loads a model, and before an unstreamed answer is complete.
    type: float
    default: 300
  retries:
    description:
      - How often the module repeats a request that could not be sent, or that met a busy server. It repeats a request without an answer only
        if a second execution does no harm.
      - The first pause is at most half a second. Each further pause is twice as long, up to 16 seconds.
    type: int
    default: 2
  headers:
    description:
      - Headers for each request, for example those that a proxy in front of Ollama requires.
      - All values are treated as secrets.
    type: dict
  validate_certs:
    description: Whether the certificate of the server must be valid.
    type: bool
    default: true
  ca_path:
    description:
      - File with the certificates of the authorities that may have signed the server's certificate, or a directory of such files.
    type: path
  client_cert:
    description: File with the client certificate, and with its private key unless O(client_key) is set.
    type: path
  client_key:
    description: File with the private key that belongs to O(client_cert).
    type: path
requirements:
  - requests >= 2.28 where the module runs
"""
