#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_s3_import
short_description: Make models of an S3 mirror present in a models directory of Ollama
version_added: 1.0.0
description:
  - Brings models from a private mirror in an S3 bucket to the models directory of an Ollama, on disk. Ollama need not run, and may run;
    it sees a model as soon as it is complete.
  - Every byte is verified by SHA-256 while it arrives. A blob takes its place when it is complete, verified and on the disk, and the
    manifest takes its place after all of its blobs.
  - An interrupted import goes on where it was when it is run again. Several blobs, and several parts of a large one, come at once.
  - What an interrupted import has left of blobs that are not wanted any more goes with the next one that changes something; without O(prune) once
    it is a week old, since another task may want them.
  - One importer works on a models directory at a time; another one waits for it, and says so.
extends_documentation_fragment:
  - legionio.ollama._s3
  - legionio.ollama._progress
  - legionio.ollama._store
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
      - The module asks the mirror, and reads and hashes blobs on disk without a record of verification. Nothing else shows whether they are sound.
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
    description:
      - Several models. They are imported together, and a blob that they share comes once.
    type: list
    elements: str
  state:
    description:
      - V(present) makes the models as they are in the mirror. Blobs that a model needed before, and nothing needs now, go with its old manifest,
        as they do with C(ollama pull).
      - V(absent) removes the models from the models directory, with the blobs that no other model there names. The mirror is not asked.
    type: str
    choices: [present, absent]
    default: present
  prune:
    description:
      - Whether to remove the other models of the models directory, so that exactly O(models) are there.
      - Only with O(state=present) and O(models), which must not be empty.
    type: bool
    default: false
  prune_scope:
    description:
      - Which of the other models O(prune) may remove, by patterns of the shell's kind, for example V(hf.co/*) or V(llama3*).
    type: list
    elements: str
    default: ["*"]
  verify:
    description:
      - Which blobs on disk are hashed before they are trusted.
      - V(changed) means those whose size, times or inode are not what they were when they were last verified.
      - V(always) means all that the models need.
    type: str
    choices: [changed, always]
    default: changed
  concurrency:
    description: How many requests to the S3 server are under way at once, from V(1) to V(64).
    type: int
    default: 8
  chunk_size:
    description:
      - How much of a large blob one request brings, from V(1M) to V(64M).
      - The buffers have 48 MiB in all, or two chunks if that is more.
    type: bytes
    default: 8M
  max_bandwidth:
    description:
      - How many bytes a second the task receives at most, all requests together, from V(64K), for example V(20M) for 20 MiB a second.
      - It is a limit for this task on this host. For a fleet, think of the number of hosts that import at once (C(forks), C(throttle), C(serial)).
      - If not set, there is no limit.
    type: bytes
  lock_timeout:
    description:
      - How many seconds the task waits while another process changes the store.
      - A process of the user who owns the store can keep its lock for ever; the failure names the process.
    type: float
    default: 21600
seealso:
  - module: legionio.ollama.ollama_s3_publish
  - module: legionio.ollama.ollama_s3_info
author:
  - The legionio.ollama authors (@legionio)
"""

EXAMPLES = r"""
- name: Two models for the service on this node
  legionio.ollama.ollama_s3_import:
    models:
      - llama3:8b
      - nomic-embed-text
    models_path: /usr/share/ollama/.ollama/models
    bucket: llm-models
    endpoint_url: https://s3.example.com
    access_key: "{{ reader_access_key }}"
    secret_key: "{{ reader_secret_key }}"
  become: true

- name: What would come, and how large it is
  legionio.ollama.ollama_s3_import:
    name: llama3:70b
    models_path: /srv/ollama/models
    bucket: llm-models
  check_mode: true
  diff: true

- name: These models of the library and no others; what users pulled from elsewhere stays
  legionio.ollama.ollama_s3_import:
    models: [llama3:8b]
    models_path: /srv/ollama/models
    bucket: llm-models
    prune: true
    prune_scope: ["registry.ollama.ai/library/*"]

- name: One model less
  legionio.ollama.ollama_s3_import:
    name: llama3:70b
    state: absent
    models_path: /srv/ollama/models
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
      description: What became of its manifest, V(add), V(replace), V(keep) or V(remove).
      type: str
      sample: add
    digest:
      description: The digest of the model as Ollama shows it, or V(null) when it is absent.
      type: str
      sample: sha256:365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1
    previous_digest:
      description: The digest of the model that was there before, or V(null).
      type: str
      sample: null
    size:
      description: Bytes of all its blobs, or V(null) when it is absent.
      type: int
      sample: 4661224676
blobs_downloaded:
  description: Number of blobs that came from the mirror; in check mode, that would come.
  returned: success or failure, with O(state=present)
  type: int
  sample: 5
blobs_skipped:
  description: Number of blobs that were there already.
  returned: success, with O(state=present)
  type: int
  sample: 0
blobs_removed:
  description: Number of blobs that nothing names any more and that were removed; in check mode, that would be.
  returned: success
  type: int
  sample: 0
bytes_downloaded:
  description: Bytes that came over the network; in check mode, that would come.
  returned: success or failure, with O(state=present)
  type: int
  sample: 4661224676
bytes_resumed:
  description: Bytes that an interrupted run had brought before.
  returned: success or failure, with O(state=present)
  type: int
  sample: 0
bytes_freed:
  description: Bytes of the blobs that were removed; in check mode, that would be.
  returned: success
  type: int
  sample: 0
resumed:
  description: Digests of the blobs that an interrupted run had begun.
  returned: success or failure, with O(state=present)
  type: list
  elements: str
  sample: []
repaired:
  description: Blobs that were damaged and are, or in check mode would be, replaced.
  returned: success, with O(state=present)
  type: list
  elements: dict
  contains:
    digest:
      description: The digest that the blob should have.
      type: str
      sample: sha256:6a0746a1ec1aef3e7ec53868f220ff6e389f6f8ef87a01d77c96807de94ca2aa
    reason:
      description: What was wrong with it.
      type: str
      sample: it has 0 bytes instead of 4661211808
seconds:
  description: Duration of the import, in seconds, without the planning before it.
  returned: success or failure, with O(state=present)
  type: float
  sample: 41.3
rate:
  description: Bytes that came over the network in a second.
  returned: success or failure, with O(state=present)
  type: int
  sample: 112862582
models_completed:
  description: Names of the models that were complete before the failure.
  returned: failure of a transfer
  type: list
  elements: str
  sample: [llama3:8b]
errors:
  description: What failed, one entry for each blob, when some could be had and some not.
  returned: failure of a transfer
  type: list
  elements: dict
  sample: []
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
  description: A stable name of the failure, for example C(model_missing), C(disk_full) or C(mirror_credentials).
  returned: failure
  type: str
  sample: model_missing
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import ArgumentSpec
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import PROGRESS, S3, STORE
from ansible_collections.legionio.ollama.plugins.module_utils._module.ollama_s3_import import import_models
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run


def main() -> None:
    own = ArgumentSpec(
        {
            "name": {"type": "str"},
            "models": {"type": "list", "elements": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "prune": {"type": "bool", "default": False},
            "prune_scope": {"type": "list", "elements": "str", "default": ["*"]},
            "verify": {"type": "str", "choices": ["changed", "always"], "default": "changed"},
            "concurrency": {"type": "int", "default": 8},
            "chunk_size": {"type": "bytes", "default": "8M"},
            "max_bandwidth": {"type": "bytes"},
            "lock_timeout": {"type": "float", "default": 21600},
        },
        mutually_exclusive=[["name", "models"]],
        required_one_of=[["name", "models"]],
    )
    run(S3.merge(PROGRESS, STORE, own), import_models)


if __name__ == "__main__":
    main()
