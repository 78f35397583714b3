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
  - Uploads a file to an Ollama server as a blob, a part of models, unless the server has it already.
  - The file is on the machine that runs the module. The server may run on another machine.
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
      - When a server starts, it deletes blobs that no model uses. Ollama 0.21.0 and newer keep them for an hour at least.
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
      - The SHA-256 digest that the file must have, V(sha256:) and 64 hexadecimal digits.
      - If the file has another digest, the module fails and uploads nothing.
    type: str
notes:
  - The module reads the file once for its digest, and once more to upload it.
  - The server finds a blob by its file name in the store, and does not check the content. So this module does not repair a damaged blob;
    M(legionio.ollama.ollama_s3_import) does.
seealso:
  - module: legionio.ollama.ollama_model
    description: Creates models from blobs. It uploads the files of O(legionio.ollama.ollama_model#module:create) itself.
"""

EXAMPLES = r"""
- name: Upload a file with weights
  legionio.ollama.ollama_blob:
    path: /srv/weights/tiny.gguf

- name: Upload the file only if it has the right digest
  legionio.ollama.ollama_blob:
    path: /srv/weights/tiny.gguf
    digest: "{{ tiny_digest }}"

- name: Upload the file to a server behind a proxy that requires a token
  legionio.ollama.ollama_blob:
    host: https://ollama.example.com
    headers:
      Authorization: "Bearer {{ ollama_token }}"
    path: /srv/weights/tiny.gguf
  register: blob

- name: Show the digest, which names the blob
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
