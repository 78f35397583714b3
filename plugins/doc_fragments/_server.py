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
      - A user name and password in front of the host become an C(Authorization) header, and are kept out of logs and results.
      - A proxy that E(HTTP_PROXY), E(HTTPS_PROXY) and E(NO_PROXY) name is used, except for addresses of the machine itself.
    type: str
    default: http://127.0.0.1:11434
  timeout:
    description:
      - How long the server may stay silent, in seconds.
      - Loading a model is silent, and so is an answer that is not streamed, until it is complete.
    type: float
    default: 300
  retries:
    description:
      - How often a request is made again that could not be sent, met a busy server, or got no answer and does no harm when done twice.
      - The first wait is half a second at most; each further one is twice as long, up to 16 seconds.
    type: int
    default: 2
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
    description:
      - File with the certificates of the authorities that may have signed the server's certificate, or a directory of such files.
    type: path
  client_cert:
    description: File with the certificate, and the key unless O(client_key) is set, that proves who asks.
    type: path
  client_key:
    description: File with the private key that belongs to O(client_cert).
    type: path
requirements:
  - requests >= 2.28 where the module runs
"""
