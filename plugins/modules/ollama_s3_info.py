#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_s3_info
short_description: List the models of an S3 mirror
version_added: 1.0.0
description:
  - Returns the models of a private mirror in an S3 bucket, with their digests, sizes and layers.
  - A manifest that cannot be read is reported; all other models are still listed.
extends_documentation_fragment:
  - legionio.ollama._s3
  - legionio.ollama._attributes
  - legionio.ollama._attributes.info_module
  - legionio.ollama._attributes.actiongroup_s3
attributes:
  platform:
    support: full
options:
  name:
    description:
      - Names or patterns, for example V(llama3:8b), V(llama3*), V(*:8b) or V(hf.co/*). The module lists models that match any of them.
      - A wildcard matches neither C(/) nor C(:).
      - Upper and lower case differ, as they do for the keys of an S3 server.
    type: list
    elements: str
    default: []
    aliases: [model, names]
seealso:
  - module: legionio.ollama.ollama_s3_import
  - module: legionio.ollama.ollama_s3_publish
author:
  - The legionio.ollama authors (@legionio)
"""

EXAMPLES = r"""
- name: List the models of the mirror
  legionio.ollama.ollama_s3_info:
    bucket: llm-models
    endpoint_url: https://s3.example.com
  register: mirror

- name: Show the largest model
  ansible.builtin.debug:
    msg: "{{ (mirror.models | sort(attribute='size') | last).name }}"

- name: List all variants of one model
  legionio.ollama.ollama_s3_info:
    name: ["llama3:*"]
    bucket: llm-models
"""

RETURN = r"""
models:
  description: The models with a valid manifest, sorted by full name.
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
    digest:
      description: The digest of the model as Ollama shows it.
      type: str
      sample: sha256:365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1
    size:
      description: Bytes of all blobs of the model, each counted once.
      type: int
      sample: 4661224676
    modified:
      description: When the manifest was published, by the S3 server's clock, in ISO 8601; V(null) if the server does not report it.
      type: str
      sample: "2026-04-01T12:00:00+00:00"
    config:
      description: The digest of the configuration blob, or V(null) if the model has none.
      type: str
      sample: sha256:3f8eb4da87fa7a3c9da615036b0dc418d31fef2a30b115ff33562588b32c691d
    layers:
      description: The layers, in their order.
      type: list
      elements: dict
      contains:
        media_type:
          description: What Ollama uses the layer for.
          type: str
          sample: application/vnd.ollama.image.model
        digest:
          description: The digest of the layer's blob.
          type: str
          sample: sha256:6a0746a1ec1aef3e7ec53868f220ff6e389f6f8ef87a01d77c96807de94ca2aa
        size:
          description: The size of the layer in bytes.
          type: int
          sample: 4661211808
        name:
          description: The name of the tensor or file, in models of many layers; otherwise empty.
          type: str
          sample: ""
broken:
  description: The models whose manifests cannot be read.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name as Ollama shows it.
      type: str
      sample: llama3:70b
    problem:
      description: What is wrong with the manifest.
      type: str
      sample: "The manifest is not valid: it is empty, as files are after a power failure"
error_code:
  description: A stable name of the failure, for example V(mirror_access_denied) or V(mirror_unreachable).
  returned: failure
  type: str
  sample: mirror_access_denied
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import ArgumentSpec
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import S3
from ansible_collections.legionio.ollama.plugins.module_utils._module.ollama_s3_info import list_models
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run


def main() -> None:
    own = ArgumentSpec({"name": {"type": "list", "elements": "str", "default": [], "aliases": ["model", "names"]}})
    run(S3.merge(own), list_models)


if __name__ == "__main__":
    main()
