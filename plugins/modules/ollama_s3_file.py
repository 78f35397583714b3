#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_s3_file
short_description: Bring one file from the bucket of an S3 mirror, or put one there
version_added: 1.0.0
description:
  - Makes one object of the bucket present as a file, verified by SHA-256, for example the archive from which Ollama is installed.
  - Or makes one file present in the bucket as an object, with its SHA-256 recorded beside it.
  - An interrupted download goes on where it was when it is run again.
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
    description: The whole key of the object in the bucket. O(prefix) is not put before it.
    type: str
    required: true
  path:
    description: The file. Its directory must exist.
    type: path
    required: true
  checksum:
    description:
      - The SHA-256 that the content must have, as 64 hexadecimal digits, with or without V(sha256:) before them.
      - Without it, with O(state=present), the one recorded with the object counts.
    type: str
  state:
    description:
      - V(present) makes the object present as a file. With O(checksum), the mirror is asked only if the file is not right already.
      - V(published) makes the file present as an object. Owner, group and mode mean nothing then.
    type: str
    choices: [present, published]
    default: present
  owner:
    description: User, by name or number, that owns the file. If not set, a new file is of the user that the module runs as.
    type: str
  group:
    description: Group, by name or number, of the file.
    type: str
  mode:
    description:
      - Permissions of the file, as an octal number in a string, for example V('0640'), or in symbols, for example V(u=rw,g=r).
      - If not set, a new file gets what the umask leaves of C(0666), and one that is replaced keeps what it has.
    type: raw
seealso:
  - module: legionio.ollama.ollama_s3_import
author:
  - The legionio.ollama authors (@legionio)
"""

EXAMPLES = r"""
- name: The archive of Ollama, from the mirror
  legionio.ollama.ollama_s3_file:
    key: ollama/releases/ollama-linux-amd64-v0.24.0.tgz
    path: /var/tmp/ollama.tgz
    checksum: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    bucket: llm-models
    endpoint_url: https://s3.example.com

- name: Put it into the mirror, from a machine that could download it
  legionio.ollama.ollama_s3_file:
    key: ollama/releases/ollama-linux-amd64-v0.24.0.tgz
    path: /srv/downloads/ollama-linux-amd64.tgz
    state: published
    bucket: llm-models
    endpoint_url: https://s3.example.com
"""

RETURN = r"""
key:
  description: The key of the object.
  returned: success
  type: str
  sample: ollama/releases/ollama-linux-amd64-v0.24.0.tgz
path:
  description: The path of the file.
  returned: success
  type: str
  sample: /var/tmp/ollama.tgz
checksum:
  description: The digest of file and object; in check mode, that they would have.
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
  description: How far the transfer was, in the terms of the lines that show it while it lasts.
  type: dict
  returned: failure of a transfer
  contains:
    model:
      description: What was being transferred last.
      type: str
      sample: llama3:8b
    step:
      description: What was being done where no bytes tell, or an empty string.
      type: str
      sample: ""
    bytes:
      description: Bytes that were where they should be, those of earlier runs included.
      type: int
      sample: 1258291200
    bytes_total:
      description: Bytes that would be there in the end.
      type: int
      sample: 4661224676
    percent:
      description: The one as part of the other.
      type: int
      sample: 26
    rate:
      description: Bytes a second, lately.
      type: int
      sample: 112862582
    seconds_left:
      description: Seconds that were left at that rate, or V(null) if that is unknown.
      type: int
      sample: 30
msg:
  description: What is peculiar about the S3 server, though the task succeeded, such as that it drops the metadata of objects. It is a warning, too.
  returned: when there is something
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
