#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_s3_file
short_description: Download a file from the bucket of an S3 mirror, or upload one
version_added: 1.0.0
description:
  - Downloads an object of the bucket to a file, verified by SHA-256, for example the archive with Ollama.
  - Or uploads a file to the bucket, and records its SHA-256 in the object's metadata.
  - An interrupted download resumes when the task runs again.
extends_documentation_fragment:
  - legionio.ollama._s3
  - legionio.ollama._progress
  - legionio.ollama._attributes
  - legionio.ollama._attributes.actiongroup_s3
  - legionio.ollama._attributes.actiongroup_progress
attributes:
  action_group:
    membership:
      - legionio.ollama.s3
      - legionio.ollama.progress
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows digests and sizes, not contents.
  idempotent:
    support: full
  platform:
    support: full
options:
  key:
    description: The complete key of the object in the bucket. The module does not add O(prefix).
    type: str
    required: true
  path:
    description: The file. Its directory must exist.
    type: path
    required: true
  checksum:
    description:
      - The SHA-256 that the content must have, as 64 hexadecimal digits, with or without the prefix V(sha256:).
      - If not set, O(state=present) uses the SHA-256 that is recorded with the object.
    type: str
  state:
    description:
      - V(present) downloads the object to the file. With O(checksum), the module reads the mirror only if the file has other content.
      - V(published) uploads the file to the object, and ignores O(owner), O(group) and O(mode).
    type: str
    choices: [present, published]
    default: present
  owner:
    description: User, by name or number, that owns the file. If not set, the user that the module runs as owns a new file.
    type: str
  group:
    description: Group, by name or number, of the file.
    type: str
  mode:
    description:
      - Permissions of the file, as an octal number in a string, for example V('0640'), or in symbols, for example V(u=rw,g=r).
      - If not set, a new file gets C(0666) less the umask, and a replaced file keeps its permissions.
    type: raw
seealso:
  - module: legionio.ollama.ollama_s3_import
author:
  - The legionio.ollama authors (@legionio)
"""

EXAMPLES = r"""
- name: Download the archive of Ollama from the mirror
  legionio.ollama.ollama_s3_file:
    key: ollama/releases/ollama-linux-amd64-v0.24.0.tar.zst
    path: /var/tmp/ollama.tar.zst
    checksum: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    bucket: llm-models
    endpoint_url: https://s3.example.com

- name: Upload the archive to the mirror
  legionio.ollama.ollama_s3_file:
    key: ollama/releases/ollama-linux-amd64-v0.24.0.tar.zst
    path: /srv/downloads/ollama-linux-amd64.tar.zst
    state: published
    bucket: llm-models
    endpoint_url: https://s3.example.com
"""

RETURN = r"""
key:
  description: The key of the object.
  returned: success
  type: str
  sample: ollama/releases/ollama-linux-amd64-v0.24.0.tar.zst
path:
  description: The path of the file.
  returned: success
  type: str
  sample: /var/tmp/ollama.tar.zst
checksum:
  description: The digest of file and object after the task; in check mode, the predicted digest.
  returned: success
  type: str
  sample: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
size:
  description: Bytes of the file.
  returned: success
  type: int
  sample: 1789569706
bytes_transferred:
  description: Bytes that went over the network.
  returned: success
  type: int
  sample: 1789569706
progress:
  description: How far the transfer was, with the values of the progress lines.
  type: dict
  returned: failure of a transfer
  contains:
    model:
      description: The model that was being transferred last.
      type: str
      sample: llama3:8b
    step:
      description: The step that was running if it moves no bytes, else an empty string.
      type: str
      sample: ""
    bytes:
      description: Bytes that had arrived, including those of earlier runs.
      type: int
      sample: 1258291200
    bytes_total:
      description: Bytes of the complete transfer.
      type: int
      sample: 4661224676
    percent:
      description: The bytes that had arrived, as a percentage of all bytes.
      type: int
      sample: 26
    rate:
      description: Recent bytes a second.
      type: int
      sample: 112862582
    seconds_left:
      description: Remaining seconds at that rate, or V(null) if unknown.
      type: int
      sample: 30
msg:
  description: A peculiarity of the S3 server that did not stop the task, for example that it drops the metadata of objects. The task warns of it, too.
  returned: when the S3 server has a peculiarity
  type: str
  sample: http://nas:9000 drops the metadata of objects
error_code:
  description: A stable name of the failure, for example C(mirror_object_missing) or C(digest_mismatch).
  returned: failure
  type: str
  sample: mirror_object_missing
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import ArgumentSpec
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import PROGRESS, S3
from ansible_collections.legionio.ollama.plugins.module_utils._module.ollama_s3_file import handle_file
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run


def main() -> None:
    own = ArgumentSpec(
        {
            "key": {"type": "str", "required": True, "no_log": False},
            "path": {"type": "path", "required": True},
            "checksum": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "published"], "default": "present"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "mode": {"type": "raw"},
        }
    )
    run(S3.merge(PROGRESS, own), handle_file)


if __name__ == "__main__":
    main()
