#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_info
short_description: Look at an Ollama server and its models
version_added: 1.0.0
author: legionio.ollama authors (@LegionIO)
description:
  - Returns the version of an Ollama server, the models in its store, and the models in its memory with their expiry.
  - With O(details=true), also what each of the models says about itself.
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
      - Return only the models meant by at least one of these.
      - Each is a name in any of its forms, so that V(llama3) means V(registry.ollama.ai/library/llama3:latest), or a
        pattern with V(*), V(?) and V([...]), which is compared with the short and with the full form of each name.
      - Case does not count, as it does not for the server.
      - A name that the server does not have is not an error; RV(models) lacks it.
    type: list
    elements: str
    aliases: [model, names]
  details:
    description: Whether to return also what each model says about itself, at the cost of one request a model.
    type: bool
    default: false
  verbose:
    description:
      - Whether RV(models[].model_info) has everything that the weights tell about themselves, vocabulary included, which can be megabytes.
      - Counts only with O(details=true).
    type: bool
    default: false
notes:
  - RV(running) is not filtered by O(name), since it tells how full the server's memory is.
seealso:
  - module: legionio.ollama.ollama_model
"""

EXAMPLES = r"""
- name: What does the server have?
  legionio.ollama.ollama_model_info:
  register: server

- name: Refuse a server that is too old
  ansible.builtin.assert:
    that: server.version is version('0.9.0', '>=')

- name: Look at one model of another server
  legionio.ollama.ollama_model_info:
    host: http://gpu-01.example.com:11434
    name: smollm2:135m
    details: true
  register: smollm2

- name: Its context length and parameters
  ansible.builtin.debug:
    msg: "{{ smollm2.models[0].model_info['llama.context_length'] }}, {{ smollm2.models[0].parameters }}"

- name: Every model of one family, by pattern
  legionio.ollama.ollama_model_info:
    name: "smollm*"
"""

RETURN = r"""
version:
  description: The version of the server. A build from source may say V(0.0.0).
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
      description: When the model was made or changed in this store.
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
      description: The number of weights, for people.
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
      description: The model that it was made from, if the server knows.
      type: str
      returned: O(details=true)
      sample: smollm2:135m
    capabilities:
      description: What the model can do. Empty before Ollama 0.6.4.
      type: list
      elements: str
      returned: O(details=true)
      sample: [completion, tools]
    template:
      description: The template of its prompts.
      type: str
      returned: O(details=true)
      sample: "{{ .Prompt }}"
    system:
      description: Its system prompt.
      type: str
      returned: O(details=true)
      sample: You are a helpful assistant.
    parameters:
      description: Its parameters. One that is set several times, such as C(stop), has a list.
      type: dict
      returned: O(details=true)
      sample: {stop: "<|im_end|>", temperature: 0}
    messages:
      description: The messages that every chat begins with.
      type: list
      elements: dict
      returned: O(details=true)
      sample: [{role: user, content: Hello}]
    license:
      description: Its licenses, one after the other.
      type: str
      returned: O(details=true)
      sample: Apache License 2.0
    modelfile:
      description: The Modelfile that describes it.
      type: str
      returned: O(details=true)
      sample: FROM /usr/share/ollama/.ollama/models/blobs/sha256-...
    model_info:
      description: What the weights tell about themselves.
      type: dict
      returned: O(details=true)
      sample: {general.architecture: llama, llama.context_length: 2048}
    requires:
      description: The version of Ollama that the model asks for.
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
      description: The memory it takes in all, in bytes.
      type: int
      sample: 214028288
    size_vram:
      description: The part of RV(running[].size) that is on graphics cards, in bytes.
      type: int
      sample: 0
    context_length:
      description: The context length that it was loaded with, in tokens. Not known to older servers.
      type: int
      sample: 4096
    expires_at:
      description: When the server unloads it, unless it is used again.
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
