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
  - Transfers models from a private mirror in an S3 bucket to a running Ollama server, local or remote. The module streams the blobs that the
    server lacks from the mirror to the server's API, without a copy on disk. It fetches the next blob while it sends one.
  - The module verifies the SHA-256 of every blob on the way. It never sends the last byte of a wrong blob, so the server keeps nothing
    of the blob.
  - Ollama's API does not accept manifests. The module writes a manifest to O(models_path), the server's models directory, when the server has
    all blobs of the model. So the task must run where it can write that directory, on the server's machine or over a network file system.
  - Before it sends a large blob, the module checks that O(models_path) is the directory of this server. In the end, the server must list the
    model with the digest of the mirror.
  - M(legionio.ollama.ollama_s3_import) needs no server, resumes an interrupted run, and writes the blobs itself. Use this module if only the
    server may write its blobs.
extends_documentation_fragment:
  - legionio.ollama._s3
  - legionio.ollama._server
  - legionio.ollama._progress
  - legionio.ollama._signatures
  - legionio.ollama._attributes
  - legionio.ollama._attributes.actiongroup_s3
  - legionio.ollama._attributes.actiongroup_server
  - legionio.ollama._attributes.actiongroup_progress
attributes:
  check_mode:
    support: full
    details:
      - Check mode reads the mirror and the server, and hashes the blobs in O(models_path) that have no verification record.
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
      - Either O(name) or O(models) is required.
    type: str
    aliases: [model]
  models:
    description: Several models. The module downloads a blob that they share once.
    type: list
    elements: str
  models_path:
    description:
      - The models directory of the server, as a path on the machine that runs the module.
      - If the module can read the directory, it verifies blobs that the server has already, and replaces damaged ones; the server checks only
        that a file exists. If the module cannot read the directory, it returns these blobs as RV(unverified), and succeeds only if it has
        nothing to write.
      - If not set, E(OLLAMA_MODELS) is used. The default is below the home of the user that the module runs as, which is rarely the home of
        Ollama's service.
    type: path
    default: ~/.ollama/models
  verify:
    description:
      - Which blobs in O(models_path) the module hashes before it trusts them.
      - V(changed) means blobs whose size, times or inode have changed since their last verification.
      - V(always) means all blobs that the models need.
    type: str
    choices: [changed, always]
    default: changed
  concurrency:
    description: Number of simultaneous requests to the S3 server, from V(1) to V(64).
    type: int
    default: 8
  chunk_size:
    description:
      - Size of the part of a large blob that one request fetches, from V(1M) to V(64M).
      - All buffers together take 48 MiB, or two chunks if that is more.
    type: bytes
    default: 8M
  max_bandwidth:
    description:
      - Most bytes a second that the task receives, all requests together, at least V(64K). For example, V(20M) means 20 MiB a second.
      - The limit holds for this task on this host. Hosts that import at the same time add up (C(forks), C(throttle), C(serial)).
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
- name: Sync a model to the server on this machine
  legionio.ollama.ollama_s3_sync:
    name: llama3:8b
    models_path: /usr/share/ollama/.ollama/models
    bucket: llm-models
    endpoint_url: https://s3.example.com
    access_key: "{{ reader_access_key }}"
    secret_key: "{{ reader_secret_key }}"
  become: true

- name: Show what a sync would transfer
  legionio.ollama.ollama_s3_sync:
    models: [llama3:8b, nomic-embed-text]
    models_path: /usr/share/ollama/.ollama/models
    bucket: llm-models
  check_mode: true
  diff: true

- name: Sync to a remote server whose models directory is mounted here
  legionio.ollama.ollama_s3_sync:
    models: [llama3:8b, nomic-embed-text]
    host: http://gpu-01.example.com:11434
    models_path: /srv/ollama/models
    bucket: llm-models
  delegate_to: localhost
"""

RETURN = r"""
models:
  description: The models that the task named.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name as Ollama shows it.
      type: str
      sample: llama3:8b
    full_name:
      description: The full name.
      type: str
      sample: registry.ollama.ai/library/llama3:8b
    action:
      description: What the task does with the manifest, V(add), V(replace) or V(keep).
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
      description: Bytes of all blobs of the model.
      type: int
      sample: 4661224676
blobs_downloaded:
  description: Number of blobs downloaded from the mirror; in check mode, the number to download.
  returned: success or failure
  type: int
  sample: 5
blobs_uploaded:
  description:
    - Number of blobs that the server accepted; in check mode, the number to send.
    - Replaced blobs do not count, because the module writes them to O(models_path).
  returned: success or failure
  type: int
  sample: 5
blobs_skipped:
  description: Number of blobs that the server already had.
  returned: success
  type: int
  sample: 0
blobs_removed:
  description:
    - Number of unused blobs that were removed; in check mode, the number to remove.
    - If only the server may remove blobs, the task warns, and Ollama's next pruning removes them.
  returned: success
  type: int
  sample: 0
bytes_downloaded:
  description: Bytes received over the network; in check mode, the bytes to receive.
  returned: success or failure
  type: int
  sample: 4661224676
bytes_resumed:
  description: Bytes of replacements for damaged blobs that an earlier, interrupted run had downloaded.
  returned: success or failure
  type: int
  sample: 0
bytes_freed:
  description: Bytes of the removed blobs; in check mode, of the blobs to remove.
  returned: success
  type: int
  sample: 0
resumed:
  description: Digests of the damaged blobs whose replacement an earlier, interrupted run had begun.
  returned: success or failure
  type: list
  elements: str
  sample: []
repaired:
  description: Damaged blobs that were replaced; in check mode, those to replace.
  returned: success
  type: list
  elements: dict
  contains:
    digest:
      description: The digest that the blob should have.
      type: str
      sample: sha256:6a0746a1ec1aef3e7ec53868f220ff6e389f6f8ef87a01d77c96807de94ca2aa
    reason:
      description: What was wrong with the blob.
      type: str
      sample: it has 0 bytes instead of 4661211808
unverified:
  description: Digests of blobs that the server reports, but that the module could not read in O(models_path) to verify them.
  returned: success
  type: list
  elements: str
  sample: []
seconds:
  description: Duration of the sync in seconds, without the planning.
  returned: success or failure
  type: float
  sample: 41.3
rate:
  description: Bytes received over the network a second.
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
  description: The failures, one entry for each blob. The module tries all blobs, and completes each model whose blobs all arrived.
  returned: always
  type: list
  elements: dict
  contains:
    digest:
      description: The blob, or V(null) if the failure concerns all blobs.
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
      description: The HTTP status of the mirror's or the server's response, or V(null).
      type: int
      sample: 500
  sample: []
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
  description: A stable name of the failure, for example C(store_out_of_reach), C(not_its_store), C(model_missing) or C(ollama_unreachable).
  returned: failure
  type: str
  sample: store_out_of_reach
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import ArgumentSpec
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import (
    PROGRESS,
    S3,
    SERVER,
    SIGNATURES,
    STORE,
)
from ansible_collections.legionio.ollama.plugins.module_utils._module.ollama_s3_sync import sync_models
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run


def main() -> None:
    own = ArgumentSpec(
        {
            "name": {"type": "str", "aliases": ["model"]},
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
    run(S3.merge(SERVER, PROGRESS, SIGNATURES, own), sync_models)


if __name__ == "__main__":
    main()
