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
  - Uploads models to a private mirror in an S3 bucket, from which M(legionio.ollama.ollama_s3_import) imports them.
  - The module hashes every blob while it uploads, so a damaged blob never becomes an object of the mirror. The manifest follows after all blobs.
  - The module records the digest of each object as its metadata C(sha256). It does not upload a blob again if the object has the right size and
    the right recorded digest. Without a recorded digest, it compares the object's ETag with the MD5 of the blob, or of its parts.
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
      - Check mode does not hash the blobs on disk. A damaged blob fails the upload.
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
    description: Several models. The module uploads a blob that they share once.
    type: list
    elements: str
  state:
    description:
      - V(present) makes the models of the mirror equal to those of the models directory.
      - V(absent) removes the models from the mirror, with the blobs that no other model of the mirror names. It does not read the models directory.
    type: str
    choices: [present, absent]
    default: present
  prune:
    description:
      - Whether to remove all other models from the mirror, and the unused blobs of models that the task replaces.
      - Only with O(state=present) and O(models), which must not be empty. An import of a removed model that runs at the same time fails.
    type: bool
    default: false
  prune_scope:
    description:
      - Which of the other models O(prune) may remove, as shell patterns, for example V(hf.co/*) or V(llama3*).
    type: list
    elements: str
    default: ["*"]
  models_path:
    description:
      - The models directory to publish from.
      - If not set, E(OLLAMA_MODELS) is used.
    type: path
    default: ~/.ollama/models
  max_bandwidth:
    description:
      - Most bytes a second that the task sends, all requests together, at least V(64K). For example, V(20M) means 20 MiB a second.
      - The limit holds on average. The module sends a part of 5 MiB, or a small blob, at full speed.
      - If not set, there is no limit.
    type: bytes
  pieces:
    description:
      - Whether to add missing lists of pieces to the mirror, for blobs of 4 MiB or more. Nodes need the lists to send blobs to each other
        (O(legionio.ollama.ollama_s3_import#module:peers)).
      - For the list of a blob that is in the mirror already, the module reads the blob's file once.
    type: bool
    default: true
  signing_key:
    description:
      - File with a private key in PEM, on the host that the module runs on, which signs the published models in the layout of OpenSSF Model Signing.
      - The module also signs named models that are in the mirror already and have no signature of this key.
      - The curve is P-256, P-384 or P-521. Signing needs the package cryptography for the interpreter that runs the module.
    type: path
  signing_key_passphrase:
    description: Passphrase of O(signing_key), if it has one.
    type: str
seealso:
  - module: legionio.ollama.ollama_s3_import
  - module: legionio.ollama.ollama_s3_info
author:
  - The legionio.ollama authors (@legionio)
"""

EXAMPLES = r"""
- name: Publish models that this machine has pulled
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

- name: Keep only these models of the library, and all models from elsewhere
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
      description: What the task does with the manifest in the mirror, V(add), V(replace), V(keep) or V(remove).
      type: str
      sample: add
    digest:
      description: The digest of the model as Ollama shows it, or V(null) if the model is absent.
      type: str
      sample: sha256:365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1
    previous_digest:
      description: The digest of the model that the mirror had before, or V(null).
      type: str
      sample: null
    size:
      description: Bytes of all blobs of the model, or V(null) if the model is absent.
      type: int
      sample: 4661224676
signed:
  description: The models that the task signed, or in check mode would sign.
  returned: success, with O(state=present)
  type: list
  elements: str
  sample: ["llama3:8b"]
blobs_uploaded:
  description: Number of uploaded blobs; in check mode, the number to upload.
  returned: success or failure, with O(state=present)
  type: int
  sample: 5
blobs_skipped:
  description: Number of blobs that the mirror already had.
  returned: success, with O(state=present)
  type: int
  sample: 0
bytes_uploaded:
  description: Bytes of the uploaded blobs; in check mode, of the blobs to upload.
  returned: success or failure, with O(state=present)
  type: int
  sample: 4661224676
piece_lists:
  description: Number of lists of pieces that were written; in check mode, the number to write.
  returned: success, with O(state=present)
  type: int
  sample: 1
replaced:
  description: Objects of the mirror that were uploaded again.
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
  description: Number of unused blobs that were removed; in check mode, the number to remove.
  returned: success
  type: int
  sample: 5
bytes_freed:
  description: Bytes of the removed blobs; in check mode, of the blobs to remove.
  returned: success
  type: int
  sample: 4661224676
seconds:
  description: Duration of the upload in seconds.
  returned: success, with O(state=present)
  type: float
  sample: 38.9
rate:
  description: Bytes uploaded a second.
  returned: success, with O(state=present)
  type: int
  sample: 119825827
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
            "name": {"type": "str", "aliases": ["model"]},
            "models": {"type": "list", "elements": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "prune": {"type": "bool", "default": False},
            "prune_scope": {"type": "list", "elements": "str", "default": ["*"]},
            "models_path": STORE.argument_spec["models_path"],
            "max_bandwidth": {"type": "bytes"},
            "pieces": {"type": "bool", "default": True},
            "signing_key": {"type": "path", "no_log": False},
            "signing_key_passphrase": {"type": "str", "no_log": True},
        },
        mutually_exclusive=[["name", "models"]],
        required_one_of=[["name", "models"]],
    )
    run(S3.merge(PROGRESS, own), publish_models)


if __name__ == "__main__":
    main()
