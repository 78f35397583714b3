#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_s3_sync
short_description: Make models of an S3 mirror present on a running Ollama server
version_added: 1.0.0
description:
  - Brings models from a private mirror in an S3 bucket to a running Ollama server, near or far. Blobs that the server lacks go from the
    mirror through this module to the server's API without touching a disk in between; while one is sent, the next one is fetched.
  - Every byte is verified by SHA-256 on its way. Of a blob that is not what it should be, the last byte is never sent, so that the
    server keeps nothing of it.
  - Ollama's API cannot take a manifest. It is written to O(models_path), the server's models directory, when the server has all blobs of the
    model, and the server sees the model at once. So the task runs where that directory can be written, which is mostly the server's own
    machine; it can also be a network file system.
  - That O(models_path) is the directory of this server is made sure of before a large blob is sent, and in the end the server must list the
    model with the digest of the mirror.
  - M(legionio.ollama.ollama_s3_import) does the same without a server, goes on where an interrupted run was, and writes what it fetches
    to the disk itself. Use this module where only the server may write its blobs.
extends_documentation_fragment:
  - legionio.ollama._s3
  - legionio.ollama._server
  - legionio.ollama._progress
  - legionio.ollama._attributes
  - legionio.ollama._attributes.actiongroup_s3
  - legionio.ollama._attributes.actiongroup_server
  - legionio.ollama._attributes.actiongroup_progress
attributes:
  check_mode:
    support: full
    details:
      - The module asks mirror and server, and reads and hashes blobs in O(models_path) without a record of verification.
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
  action_group:
    description: Use C(group/legionio.ollama.s3) or C(group/legionio.ollama.server) in C(module_defaults) to set defaults for all modules that
      talk to the mirror, or to an Ollama server.
    support: full
    membership:
      - legionio.ollama.s3
      - legionio.ollama.server
      - legionio.ollama.progress
options:
  name:
    description:
      - The model, as C([host/][namespace/]model[:tag]). V(llama3), V(llama3:latest) and V(registry.ollama.ai/library/llama3:latest) are the same model.
      - Either this or O(models) is needed.
    type: str
  models:
    description: Several models. They are brought together, and a blob that they share comes once.
    type: list
    elements: str
  models_path:
    description:
      - The models directory of the server, as the machine on which the task runs sees it.
      - Where it can be read, blobs that the server has already are verified, and damaged ones replaced; the server itself only looks whether a
        file is there. Where it cannot be read they are returned as RV(unverified), and the task succeeds only if nothing has to be written.
      - If not set, the environment variable E(OLLAMA_MODELS) is asked. The default is below the home of the user that the module
        runs as, which is rarely the home of Ollama's service.
    type: path
    default: ~/.ollama/models
  verify:
    description:
      - Which blobs in O(models_path) are hashed before they are trusted.
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
seealso:
  - module: legionio.ollama.ollama_s3_import
  - module: legionio.ollama.ollama_s3_publish
  - module: legionio.ollama.ollama_model
author:
  - The legionio.ollama authors (@legionio)
"""

EXAMPLES = r"""
- name: A model for the server of this machine
  legionio.ollama.ollama_s3_sync:
    name: llama3:8b
    models_path: /usr/share/ollama/.ollama/models
    bucket: llm-models
    endpoint_url: https://s3.example.com
    access_key: "{{ reader_access_key }}"
    secret_key: "{{ reader_secret_key }}"
  become: true

- name: What would come, and how large it is
  legionio.ollama.ollama_s3_sync:
    models: [llama3:8b, nomic-embed-text]
    models_path: /usr/share/ollama/.ollama/models
    bucket: llm-models
  check_mode: true
  diff: true

- name: A server elsewhere, whose models directory is mounted here
  legionio.ollama.ollama_s3_sync:
    models: [llama3:8b, nomic-embed-text]
    host: http://gpu-01.example.com:11434
    models_path: /srv/ollama/models
    bucket: llm-models
  delegate_to: localhost
"""

RETURN = r"""
models:
  description: The models that were named.
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
      description: What became of its manifest, V(add), V(replace) or V(keep).
      type: str
      sample: add
    digest:
      description: The digest of the model as Ollama shows it.
      type: str
      sample: sha256:365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1
    previous_digest:
      description: The digest of the model that was there before, or V(null).
      type: str
      sample: null
    size:
      description: Bytes of all its blobs.
      type: int
      sample: 4661224676
blobs_downloaded:
  description: Number of blobs that came from the mirror; in check mode, that would come.
  returned: success or failure
  type: int
  sample: 5
blobs_pushed:
  description:
    - Number of blobs that the server took; in check mode, that it would.
    - Damaged ones that were replaced are not among them, they take their place in O(models_path).
  returned: success or failure
  type: int
  sample: 5
blobs_skipped:
  description: Number of blobs that the server had already.
  returned: success
  type: int
  sample: 0
blobs_removed:
  description: Number of blobs that nothing names any more and that were removed; in check mode, that would be.
  returned: success
  type: int
  sample: 0
bytes_downloaded:
  description: Bytes that came over the network; in check mode, that would come.
  returned: success or failure
  type: int
  sample: 4661224676
bytes_resumed:
  description: Bytes of damaged blobs that an interrupted run had brought before.
  returned: success or failure
  type: int
  sample: 0
bytes_freed:
  description: Bytes of the blobs that were removed; in check mode, that would be.
  returned: success
  type: int
  sample: 0
resumed:
  description: Digests of the damaged blobs whose replacement an interrupted run had begun.
  returned: success or failure
  type: list
  elements: str
  sample: []
repaired:
  description: Blobs that were damaged and are, or in check mode would be, replaced.
  returned: success
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
unverified:
  description: Digests of blobs that the server says it has, and that could not be read in O(models_path) to be verified.
  returned: success
  type: list
  elements: str
  sample: []
seconds:
  description: Duration of the sync, in seconds, without the planning before it.
  returned: success or failure
  type: float
  sample: 41.3
rate:
  description: Bytes that came over the network in a second.
  returned: success or failure
  type: int
  sample: 112862582
models_completed:
  description: Names of the models that were complete before the failure.
  returned: failure of a transfer
  type: list
  elements: str
  sample: [llama3:8b]
errors:
  description: What failed, one entry for each blob. All blobs are attempted, and a model whose blobs all came is there in spite of them.
  returned: always
  type: list
  elements: dict
  contains:
    digest:
      description: The blob, or V(null) if the failure concerns them all.
      type: str
      sample: sha256:6a0746a1ec1aef3e7ec53868f220ff6e389f6f8ef87a01d77c96807de94ca2aa
    error:
      description: What happened, and what to do.
      type: str
      sample: The content of blob sha256:6a07... has the digest sha256:e3b0...
    error_code:
      description: A stable name of the failure.
      type: str
      sample: digest_mismatch
    status:
      description: The HTTP status that the mirror or the server answered with, or V(null).
      type: int
      sample: 500
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
  description: A stable name of the failure, for example C(store_out_of_reach), C(not_its_store), C(model_missing) or C(ollama_unreachable).
  returned: failure
  type: str
  sample: store_out_of_reach
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import ArgumentSpec
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import PROGRESS, S3, SERVER, STORE
from ansible_collections.legionio.ollama.plugins.module_utils._module.ollama_s3_sync import sync_models
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run


def main() -> None:
    own = ArgumentSpec(
        {
            "name": {"type": "str"},
            "models": {"type": "list", "elements": "str"},
            "models_path": STORE.argument_spec["models_path"],
            "verify": {"type": "str", "choices": ["changed", "always"], "default": "changed"},
            "concurrency": {"type": "int", "default": 8},
            "chunk_size": {"type": "bytes", "default": "8M"},
            "max_bandwidth": {"type": "bytes"},
        },
        mutually_exclusive=[["name", "models"]],
        required_one_of=[["name", "models"]],
    )
    run(S3.merge(SERVER, PROGRESS, own), sync_models)


if __name__ == "__main__":
    main()
