#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_blob
short_description: Make a file present on an Ollama server as a blob
version_added: 1.0.0
author: legionio.ollama authors (@LegionIO)
description:
  - Uploads a file to an Ollama server as a blob, which is what models are made of, unless the server has it already.
  - The file is on the machine that runs the module, which need not be the one that runs the server.
extends_documentation_fragment:
  - legionio.ollama._server
  - legionio.ollama._attributes
  - legionio.ollama._attributes.actiongroup_server
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - A server forgets a blob that no model uses, at its next start. Ollama 0.21.0 and newer keep it for an hour at least.
  platform:
    support: full
options:
  path:
    description: The file.
    type: path
    required: true
    aliases: [src]
  digest:
    description:
      - The SHA-256 digest that the file must have, as V(sha256:) and 64 hexadecimal digits.
      - If the file has another digest, the module fails and uploads nothing.
    type: str
notes:
  - The file is read once to know its digest, and once more to upload it.
  - Whether a server has a blob is decided by the file's name in its store. The server does not look at the content, so a blob that was damaged there
    is not repaired; M(legionio.ollama.ollama_s3_import) does that.
seealso:
  - module: legionio.ollama.ollama_model
    description: Makes models from blobs. It uploads the files of O(legionio.ollama.ollama_model#module:create) by itself.
"""

EXAMPLES = r"""
- name: The weights are on the server
  legionio.ollama.ollama_blob:
    path: /srv/weights/tiny.gguf

- name: The same, if the file is what it should be
  legionio.ollama.ollama_blob:
    path: /srv/weights/tiny.gguf
    digest: "{{ tiny_digest }}"

- name: On a server behind a proxy that wants a token
  legionio.ollama.ollama_blob:
    host: https://ollama.example.com
    headers:
      Authorization: "Bearer {{ ollama_token }}"
    path: /srv/weights/tiny.gguf
  register: blob

- name: What to refer to it by
  ansible.builtin.debug:
    var: blob.digest
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
  sample: /srv/weights/tiny.gguf
digest:
  description: The SHA-256 digest of the file.
  type: str
  returned: success
  sample: sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
size:
  description: The size of the file in bytes.
  type: int
  returned: success
  sample: 98309382
error_code:
  description: A stable name of the failure, for example V(digest_mismatch) or V(ollama_unreachable).
  returned: failure
  type: str
  sample: digest_mismatch
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import ArgumentSpec
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import SERVER
from ansible_collections.legionio.ollama.plugins.module_utils._module.ollama_blob import blob
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run

SPEC = ArgumentSpec(
    {
        "path": {"type": "path", "required": True, "aliases": ["src"]},
        "digest": {"type": "str"},
    }
)


def main() -> None:
    """Run the module."""
    run(SPEC.merge(SERVER), blob)


if __name__ == "__main__":
    main()
