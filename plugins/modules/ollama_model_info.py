#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_info
short_description: Show an Ollama server and its models
version_added: 1.0.0
author: legionio.ollama authors (@LegionIO)
description:
  - Returns the version of an Ollama server, the models in its store, and the models in its memory with their expiry.
  - With O(details=true), also returns details of each model.
extends_documentation_fragment:
  - legionio.ollama._server
  - legionio.ollama._attributes
  - legionio.ollama._attributes.info_module
  - legionio.ollama._attributes.actiongroup_server
attributes:
  platform:
    support: full
options:
  name:
    description:
      - Names and patterns. The module returns only models that match at least one of them.
      - A name may have any form. V(llama3) means V(registry.ollama.ai/library/llama3:latest). A pattern has V(*), V(?) or V([...]), and is compared
        with the short and the full form of each name.
      - Case does not matter, as on the server.
      - A name that the server does not have is not an error.
    type: list
    elements: str
    aliases: [model, names]
  details:
    description: Whether to return details of each model, which takes one request for each model.
    type: bool
    default: false
  verbose:
    description:
      - Whether RV(models[].model_info) has all metadata of the weights, including the vocabulary, which can be megabytes.
      - Used only with O(details=true).
    type: bool
    default: false
notes:
  - O(name) does not filter RV(running), because the list shows how full the server's memory is.
seealso:
  - module: legionio.ollama.ollama_model
"""

EXAMPLES = r"""
- name: List the models of the server on this machine
  legionio.ollama.ollama_model_info:
  register: server

- name: Refuse a server that is too old
  ansible.builtin.assert:
    that: server.version is version('0.9.0', '>=')

- name: Get the details of one model of another server
  legionio.ollama.ollama_model_info:
    host: http://gpu-01.example.com:11434
    name: smollm2:135m
    details: true
  register: smollm2

- name: Show its context length and parameters
  ansible.builtin.debug:
    msg: "{{ smollm2.models[0].model_info['llama.context_length'] }}, {{ smollm2.models[0].parameters }}"

- name: List the models of one family, by a pattern
  legionio.ollama.ollama_model_info:
    name: "smollm*"
"""

RETURN = r"""
version:
  description: The version of the server. A build from source may report V(0.0.0).
  type: str
  returned: success
  sample: 0.24.0
models:
  description: The models in the server's store, the newest first.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The name as the server shows it.
      type: str
      sample: smollm2:135m
    full_name:
      description: The name with all its parts.
      type: str
      sample: registry.ollama.ai/library/smollm2:135m
    digest:
      description: The SHA-256 digest of the model's manifest.
      type: str
      sample: sha256:9077fe9d2ae1a4a41a868836b56b8163731a8fe16621397028c2c76f838c6907
    size:
      description: The size of all its layers in bytes. Layers that models share count for each of them.
      type: int
      sample: 98309382
    modified_at:
      description: When the model was created or changed on this server.
      type: str
      sample: "2026-11-22T16:54:11.123456789Z"
    format:
      description: The format of the weights.
      type: str
      sample: gguf
    family:
      description: The architecture of the model.
      type: str
      sample: llama
    parameter_size:
      description: The number of weights, rounded.
      type: str
      sample: 134.52M
    quantization_level:
      description: How the weights are quantized.
      type: str
      sample: Q4_1
    loaded:
      description: Whether the model is in memory; RV(running) has the details.
      type: bool
      sample: true
    parent_model:
      description: The model that this model was created from, if the server knows it.
      type: str
      returned: O(details=true)
      sample: smollm2:135m
    capabilities:
      description: The capabilities of the model. Empty before Ollama 0.6.4.
      type: list
      elements: str
      returned: O(details=true)
      sample: [completion, tools]
    template:
      description: The prompt template.
      type: str
      returned: O(details=true)
      sample: "{{ .Prompt }}"
    system:
      description: The system prompt.
      type: str
      returned: O(details=true)
      sample: You are a helpful assistant.
    parameters:
      description: The parameters. The value of a parameter that is set several times, such as C(stop), is a list.
      type: dict
      returned: O(details=true)
      sample: {stop: "<|im_end|>", temperature: 0}
    messages:
      description: The messages at the start of every chat.
      type: list
      elements: dict
      returned: O(details=true)
      sample: [{role: user, content: Hello}]
    license:
      description: The licenses, one after the other.
      type: str
      returned: O(details=true)
      sample: Apache License 2.0
    modelfile:
      description: The Modelfile of the model.
      type: str
      returned: O(details=true)
      sample: FROM /usr/share/ollama/.ollama/models/blobs/sha256-...
    model_info:
      description: The metadata of the weights.
      type: dict
      returned: O(details=true)
      sample: {general.architecture: llama, llama.context_length: 2048}
    requires:
      description: The version of Ollama that the model requires.
      type: str
      returned: O(details=true)
      sample: 0.14.0
running:
  description: The models in the server's memory.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The name as the server shows it.
      type: str
      sample: smollm2:135m
    digest:
      description: The SHA-256 digest of the model's manifest.
      type: str
      sample: sha256:9077fe9d2ae1a4a41a868836b56b8163731a8fe16621397028c2c76f838c6907
    size:
      description: The memory that the model uses, in bytes.
      type: int
      sample: 214028288
    size_vram:
      description: The part of RV(running[].size) that is on graphics cards, in bytes.
      type: int
      sample: 0
    context_length:
      description: The context length that the model was loaded with, in tokens. Older servers do not report it.
      type: int
      sample: 4096
    expires_at:
      description: When the server unloads the model if it is not used again. A year after 2300 means never.
      type: str
      sample: "2026-11-22T17:46:17.622403859Z"
error_code:
  description: A stable name of the failure, for example V(ollama_unreachable) or V(not_ollama).
  returned: failure
  type: str
  sample: ollama_unreachable
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import ArgumentSpec
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import SERVER
from ansible_collections.legionio.ollama.plugins.module_utils._module.ollama_model_info import info
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run

SPEC = ArgumentSpec(
    {
        "name": {"type": "list", "elements": "str", "aliases": ["model", "names"]},
        "details": {"type": "bool", "default": False},
        "verbose": {"type": "bool", "default": False},
    }
)


def main() -> None:
    """Run the module."""
    run(SPEC.merge(SERVER), info)


if __name__ == "__main__":
    main()
