#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_s3_publish
short_description: Publish models from a models directory of Ollama to an S3 mirror
version_added: 1.0.0
description:
  - Uploads models to a private mirror in an S3 bucket, from where M(legionio.ollama.ollama_s3_import) brings them to other machines.
  - Every blob is hashed while it is sent, so that a damaged one never becomes an object of the mirror. The manifest follows when all blobs are there.
  - The digest of each object is recorded as its metadata C(sha256). What is there with the right size and the right recorded digest is not sent again;
    nor is an object of unknown origin whose ETag is the MD5 of the blob, or of its parts. Any other object of unknown origin is.
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
    details:
      - That the blobs on disk are sound is found out when they are sent.
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
options:
  name:
    description:
      - The model, as C([host/][namespace/]model[:tag]). V(llama3), V(llama3:latest) and V(registry.ollama.ai/library/llama3:latest) are the same model.
      - Either this or O(models) is needed.
    type: str
  models:
    description: Several models. A blob that they share is sent once.
    type: list
    elements: str
  state:
    description:
      - V(present) makes the models in the mirror as they are in the models directory.
      - V(absent) removes them from the mirror, with the blobs that no other model of the mirror names. The models directory is not looked at.
    type: str
    choices: [present, absent]
    default: present
  prune:
    description:
      - Whether to remove the other models of the mirror, so that exactly O(models) are there, and what O(models) needed before they were
        replaced, so far as no model that stays names it.
      - Only with O(state=present) and O(models), which must not be empty. Who is just importing what goes is left without it.
    type: bool
    default: false
  prune_scope:
    description:
      - Which of the other models O(prune) may remove, by patterns of the shell's kind, for example V(hf.co/*) or V(llama3*).
    type: list
    elements: str
    default: ["*"]
  models_path:
    description:
      - The models directory from which the models come.
      - If not set, the environment variable E(OLLAMA_MODELS) is asked.
    type: path
    default: ~/.ollama/models
  max_bandwidth:
    description:
      - How many bytes a second the task sends at most, all requests together, from V(64K), for example V(20M) for 20 MiB a second.
      - It holds on the average. What is sent at once are parts of 5 MiB, or small blobs as a whole.
      - If not set, there is no limit.
    type: bytes
seealso:
  - module: legionio.ollama.ollama_s3_import
  - module: legionio.ollama.ollama_s3_info
author:
  - The legionio.ollama authors (@legionio)
"""

EXAMPLES = r"""
- name: Publish what this machine has pulled
  legionio.ollama.ollama_s3_publish:
    models:
      - llama3:8b
      - nomic-embed-text
    models_path: /usr/share/ollama/.ollama/models
    bucket: llm-models
    endpoint_url: https://s3.example.com
    access_key: "{{ publisher_access_key }}"
    secret_key: "{{ publisher_secret_key }}"
  become: true

- name: Exactly these models of the library; what others published elsewhere stays
  legionio.ollama.ollama_s3_publish:
    models: [llama3:8b, nomic-embed-text]
    models_path: /srv/ollama/models
    bucket: llm-models
    prune: true
    prune_scope: ["registry.ollama.ai/library/*"]

- name: Retire a model
  legionio.ollama.ollama_s3_publish:
    name: llama3:70b
    state: absent
    bucket: llm-models
"""

RETURN = r"""
models:
  description: The models that were named, and those that O(prune) removes.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name as Ollama shows it.
      type: str
      sample: llama3:8b
    full_name:
      description: The name in full.
      type: str
      sample: registry.ollama.ai/library/llama3:8b
    action:
      description: What became of its manifest in the mirror, V(add), V(replace), V(keep) or V(remove).
      type: str
      sample: add
    digest:
      description: The digest of the model as Ollama shows it, or V(null) when it is absent.
      type: str
      sample: sha256:365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1
    previous_digest:
      description: The digest of the model that the mirror had before, or V(null).
      type: str
      sample: null
    size:
      description: Bytes of all its blobs, or V(null) when it is absent.
      type: int
      sample: 4661224676
blobs_pushed:
  description: Number of blobs that were sent; in check mode, that would be.
  returned: success or failure, with O(state=present)
  type: int
  sample: 5
blobs_skipped:
  description: Number of blobs that the mirror had already.
  returned: success, with O(state=present)
  type: int
  sample: 0
bytes_uploaded:
  description: Bytes of the blobs that were sent; in check mode, that would be.
  returned: success or failure, with O(state=present)
  type: int
  sample: 4661224676
replaced:
  description: Objects that were sent again, though the mirror had an object of that name.
  returned: success, with O(state=present)
  type: list
  elements: dict
  contains:
    digest:
      description: The digest of the blob.
      type: str
      sample: sha256:6a0746a1ec1aef3e7ec53868f220ff6e389f6f8ef87a01d77c96807de94ca2aa
    reason:
      description: What was wrong with the object.
      type: str
      sample: no digest is recorded with it
blobs_removed:
  description: Number of blobs that nothing names any more and that were removed; in check mode, that would be.
  returned: success
  type: int
  sample: 5
bytes_freed:
  description: Bytes of the blobs that were removed; in check mode, that would be.
  returned: success
  type: int
  sample: 4661224676
seconds:
  description: Duration of the sending, in seconds.
  returned: success, with O(state=present)
  type: float
  sample: 38.9
rate:
  description: Bytes sent in a second.
  returned: success, with O(state=present)
  type: int
  sample: 119825827
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
  description: A stable name of the failure, for example C(not_in_store), C(digest_mismatch) or C(mirror_access_denied).
  returned: failure
  type: str
  sample: not_in_store
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import ArgumentSpec
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import PROGRESS, S3, STORE
from ansible_collections.legionio.ollama.plugins.module_utils._module.ollama_s3_publish import publish_models
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run


def main() -> None:
    own = ArgumentSpec(
        {
            "name": {"type": "str"},
            "models": {"type": "list", "elements": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "prune": {"type": "bool", "default": False},
            "prune_scope": {"type": "list", "elements": "str", "default": ["*"]},
            "models_path": STORE.argument_spec["models_path"],
            "max_bandwidth": {"type": "bytes"},
        },
        mutually_exclusive=[["name", "models"]],
        required_one_of=[["name", "models"]],
    )
    run(S3.merge(PROGRESS, own), publish_models)


if __name__ == "__main__":
    main()
