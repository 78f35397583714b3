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
  - Imports models from a private mirror in an S3 bucket into a models directory of Ollama on disk. Ollama need not run. A running Ollama
    sees a model as soon as it is complete.
  - The module verifies the SHA-256 of every blob while it downloads. It renames a blob into place when the blob is complete, verified and on
    the disk, and writes the manifest after all of its blobs.
  - An interrupted import resumes when it is run again. The module downloads several blobs, and several parts of a large blob, at once.
  - An import that changes something first removes partial files of interrupted imports that no model of the task needs. Without O(prune), it removes only
    those older than a week, because another task may need them.
  - One import works on a models directory at a time. A second import waits for the first, and reports that it waits.
extends_documentation_fragment:
  - legionio.ollama._s3
  - legionio.ollama._progress
  - legionio.ollama._signatures
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
      - Check mode reads the mirror, and hashes the blobs on disk that have no verification record.
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
      - Either O(name) or O(models) is required.
    type: str
    aliases: [model]
  models:
    description:
      - Several models. The module downloads a blob that they share once.
    type: list
    elements: str
  state:
    description:
      - V(present) makes the models equal to those of the mirror. It removes blobs of an old manifest that no model needs any more, as
        C(ollama pull) does.
      - V(absent) removes the models from the models directory, with the blobs that no other model there names. It does not read the mirror.
    type: str
    choices: [present, absent]
    default: present
  prune:
    description:
      - Whether to remove all other models from the models directory.
      - Only with O(state=present) and O(models), which must not be empty.
    type: bool
    default: false
  prune_scope:
    description:
      - Which of the other models O(prune) may remove, as shell patterns, for example V(hf.co/*) or V(llama3*).
    type: list
    elements: str
    default: ["*"]
  verify:
    description:
      - Which blobs on disk the module hashes before it trusts them.
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
  lock_timeout:
    description:
      - How many seconds the task waits while another process changes the store.
      - A process of the user who owns the store can hold the lock for ever; the error names the process.
    type: float
    default: 21600
  elsewhere:
    description:
      - Whether O(models_path) is on another machine, for example on a new node that cannot run the module yet. The module then plans the import
        into an empty models directory, and does not look at the directories and the disk of the machine on which it runs.
      - Only in check mode.
    type: bool
    default: false
  peers:
    description:
      - Other nodes that may have the blobs, each as V(host), V(host:port) or V([IPv6]:port). The default port is V(11480). The list may contain the node
        itself.
      - The module gets the pieces of blobs of 4 MiB or more from nodes that have the blob or are importing it, and from the mirror if no node has the
        piece. It verifies each piece by the list of pieces from M(legionio.ollama.ollama_s3_publish), and the whole blob by its digest.
      - A node sends blobs to others with the service that the role P(legionio.ollama.ollama_models#role) installs (C(ollama_models_peers)).
      - A node that cannot be reached costs some seconds. A node that sends wrong bytes is named in RV(peers) and in a warning, and is not asked again.
    type: list
    elements: str
    default: []
  peers_secret:
    description: The secret that only the nodes of the fleet know, of 32 characters or more. Required with O(peers).
    type: str
  peers_ca_path:
    description: File on the node with the certificates of the authorities that may have signed the certificates of O(peers). It switches TLS on.
    type: path
  peers_client_cert:
    description: File on the node with its own certificate, which the other nodes demand if they have one.
    type: path
  peers_client_key:
    description: File on the node with the private key of O(peers_client_cert), if the key is not in that file.
    type: path
seealso:
  - module: legionio.ollama.ollama_s3_publish
  - module: legionio.ollama.ollama_s3_info
author:
  - The legionio.ollama authors (@legionio)
"""

EXAMPLES = r"""
- name: Import two models for the service on this node
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

- name: Show what an import would download
  legionio.ollama.ollama_s3_import:
    name: llama3:70b
    models_path: /srv/ollama/models
    bucket: llm-models
  check_mode: true
  diff: true

- name: Keep only these models of the library, and all models from elsewhere
  legionio.ollama.ollama_s3_import:
    models: [llama3:8b]
    models_path: /srv/ollama/models
    bucket: llm-models
    prune: true
    prune_scope: ["registry.ollama.ai/library/*"]

- name: Remove a model
  legionio.ollama.ollama_s3_import:
    name: llama3:70b
    state: absent
    models_path: /srv/ollama/models
    bucket: llm-models
"""

RETURN = r"""
models:
  description: The models that the task named, and those that O(prune) removes.
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
      description: What the task does with the manifest, V(add), V(replace), V(keep) or V(remove).
      type: str
      sample: add
    digest:
      description: The digest of the model as Ollama shows it, or V(null) if the model is absent.
      type: str
      sample: sha256:365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1
    previous_digest:
      description: The digest of the model that was there before, or V(null).
      type: str
      sample: null
    size:
      description: Bytes of all blobs of the model, or V(null) if the model is absent.
      type: int
      sample: 4661224676
blobs_downloaded:
  description: Number of blobs downloaded from the mirror; in check mode, the number to download.
  returned: success or failure, with O(state=present)
  type: int
  sample: 5
blobs_skipped:
  description: Number of blobs that were already there.
  returned: success, with O(state=present)
  type: int
  sample: 0
blobs_removed:
  description: Number of unused blobs that were removed; in check mode, the number to remove.
  returned: success
  type: int
  sample: 0
bytes_downloaded:
  description: Bytes received over the network; in check mode, the bytes to receive.
  returned: success or failure, with O(state=present)
  type: int
  sample: 4661224676
bytes_from_peers:
  description: The part of RV(bytes_downloaded) that came from O(peers).
  returned: success or failure, with O(state=present)
  type: int
  sample: 4294967296
peers:
  description: The O(peers) that sent bytes, sent wrong bytes, or failed several times in a row.
  returned: success or failure, with O(state=present)
  type: list
  elements: dict
  contains:
    peer:
      description: The address, as in O(peers).
      type: str
      sample: node-07:11480
    bytes:
      description: Bytes of the correct pieces that this node sent.
      type: int
      sample: 268435456
    state:
      description: V(good), V(lied) if it sent wrong bytes, or V(failed) if it failed several times in a row.
      type: str
      sample: good
    problem:
      description: The node's last problem, or V(null).
      type: str
      sample: null
bytes_resumed:
  description: Bytes that an earlier, interrupted run had downloaded.
  returned: success or failure, with O(state=present)
  type: int
  sample: 0
bytes_freed:
  description: Bytes of the removed blobs; in check mode, of the blobs to remove.
  returned: success
  type: int
  sample: 0
resumed:
  description: Digests of the blobs that an earlier, interrupted run had begun.
  returned: success or failure, with O(state=present)
  type: list
  elements: str
  sample: []
repaired:
  description: Damaged blobs that were replaced; in check mode, those to replace.
  returned: success, with O(state=present)
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
seconds:
  description: Duration of the import in seconds, without the planning.
  returned: success or failure, with O(state=present)
  type: float
  sample: 41.3
rate:
  description: Bytes received over the network a second.
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
  description: The failures, one entry for each blob, if only some blobs failed.
  returned: failure of a transfer
  type: list
  elements: dict
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
  description: A stable name of the failure, for example C(model_missing), C(disk_full) or C(mirror_credentials).
  returned: failure
  type: str
  sample: model_missing
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import ArgumentSpec
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import PROGRESS, S3, SIGNATURES, STORE
from ansible_collections.legionio.ollama.plugins.module_utils._module.ollama_s3_import import import_models
from ansible_collections.legionio.ollama.plugins.module_utils._module.peer_options import PEERS
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run


def main() -> None:
    own = ArgumentSpec(
        {
            "name": {"type": "str", "aliases": ["model"]},
            "models": {"type": "list", "elements": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "prune": {"type": "bool", "default": False},
            "prune_scope": {"type": "list", "elements": "str", "default": ["*"]},
            "verify": {"type": "str", "choices": ["changed", "always"], "default": "changed"},
            "concurrency": {"type": "int", "default": 8},
            "chunk_size": {"type": "bytes", "default": "8M"},
            "max_bandwidth": {"type": "bytes"},
            "lock_timeout": {"type": "float", "default": 21600},
            "elsewhere": {"type": "bool", "default": False},
            **PEERS,
        },
        mutually_exclusive=[["name", "models"]],
        required_one_of=[["name", "models"]],
        required_by={"peers_client_cert": ["peers_ca_path"], "peers_client_key": ["peers_client_cert"]},
    )
    run(S3.merge(PROGRESS, STORE, SIGNATURES, own), import_models)


if __name__ == "__main__":
    main()
