#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model
short_description: Manage the models of an Ollama server
version_added: 1.0.0
author: legionio.ollama authors (@LegionIO)
description:
  - Pulls, copies, creates, pushes, deletes, loads and unloads models of an Ollama server, through its API.
  - On nodes that cannot reach a registry, use M(legionio.ollama.ollama_s3_import), which takes models from a mirror.
extends_documentation_fragment:
  - legionio.ollama._server
  - legionio.ollama._progress
  - legionio.ollama._attributes
  - legionio.ollama._attributes.actiongroup_server
  - legionio.ollama._attributes.actiongroup_progress
attributes:
  action_group:
    membership:
      - legionio.ollama.server
      - legionio.ollama.progress
  check_mode:
    support: partial
    details:
      - Check mode asks no registry. It predicts a change for O(pull=always) and for O(push=true).
      - The digest after a pull or a creation is unknown.
      - With O(create), it predicts a change when O(create) differs from the model in a part that the server shows. If the server then
        makes the same model, the real run reports no change.
      - Copies, deletions, loads and unloads are predicted exactly.
  diff_mode:
    support: full
    details:
      - Shows names, digests and sizes; with O(create) also the template, system prompt, parameters, messages, license and digests of weights.
  idempotent:
    support: partial
    details:
      - O(push=true) always counts as a change, because the server does not report whether the registry had the model already.
      - Everything else is idempotent.
  platform:
    support: full
options:
  name:
    description: The model, in any form of its name. V(llama3) means V(registry.ollama.ai/library/llama3:latest).
    type: str
    required: true
    aliases: [model]
  state:
    description:
      - V(present) makes sure that the server has the model. A missing model comes from its registry, from O(source) or from O(create).
      - V(absent) deletes the model, and the blobs that no other model uses. It also deletes models whose names differ from O(name) only in case.
      - V(loaded) loads the model into memory. The server must have the model.
      - V(unloaded) removes the model from memory. The task waits up to O(timeout) for requests that the model is answering.
    type: str
    choices: [present, absent, loaded, unloaded]
    default: present
  pull:
    description:
      - When to pull the model from the registry in its name. With O(source) or O(create), this option applies to the model that they start from.
      - V(not_present) pulls a missing model, V(always) also updates a model that is there, and V(never) fails if the model is missing.
    type: str
    choices: [not_present, always, never]
    default: not_present
  source:
    description: The model to copy to O(name).
    type: str
  create:
    description:
      - The parts of the model to create, as in a Modelfile.
      - The module creates the model again only if a part differs from the model on the server. Parts that are not set come from O(create.from).
      - If the server makes new weights, by O(create.quantize) or from files that are not in GGUF format, the module compares only their
        family, size and quantization. Use O(create.force) after you change such files.
    type: dict
    suboptions:
      from:
        description: The model to start from.
        type: str
      files:
        description:
          - The paths of the files to start from, by their names in the model, such as V(model.safetensors) or V(1_Pooling/config.json).
          - The files are on the machine that runs the module. The module uploads those that the server lacks.
        type: dict
      directory:
        description:
          - A directory to start from, on the machine that runs the module.
          - The module takes the files that end with C(.gguf), C(.safetensors), C(.json), C(.model), C(.txt) or C(.jinja), in subdirectories too.
        type: path
      adapters:
        description: Files of LoRA adapters, as in O(create.files).
        type: dict
      template:
        description: The prompt template, in Ollama's syntax.
        type: str
      system:
        description: The system prompt.
        type: str
      parameters:
        description:
          - Parameters such as C(temperature), C(num_ctx) or C(stop), added to those of O(create.from).
          - A parameter that O(create.from) has cannot be removed, only set.
        type: dict
      messages:
        description: The messages at the start of every chat.
        type: list
        elements: dict
        suboptions:
          role:
            description: The author of the message.
            type: str
            choices: [system, user, assistant]
            required: true
          content:
            description: The text of the message.
            type: str
            required: true
      license:
        description: Licenses, added to those of O(create.from).
        type: list
        elements: str
      quantize:
        description:
          - Quantize weights of 16 or 32 bits to this level, such as V(q8_0) or V(q4_K_M).
        type: str
      force:
        description: Whether to create the model even if the module sees no difference.
        type: bool
        default: false
  push:
    description: Whether to push the model to the registry in its name, once it is present.
    type: bool
    default: false
  insecure:
    description: Whether to talk plain HTTP to the registry.
    type: bool
    default: false
  keep_alive:
    description:
      - How long the model stays in memory after O(state=loaded), in seconds or with units such as V(10m). A negative time keeps it for ever.
      - Each run starts the time again, which is not reported as a change. A switch between a limited and an unlimited time is a change.
      - If not set, the server decides, and a model that is already loaded stays as it is.
    type: raw
  options:
    description:
      - Runner options for O(state=loaded), such as C(num_ctx).
      - A model that is loaded with another C(num_ctx) is loaded again, if the server shows its context length. The server shows no other options
        of a loaded model.
    type: dict
  stall_timeout:
    description:
      - How many seconds a pull, push or creation may go without progress before the module gives up.
      - Progress means that bytes arrive or that a new step begins. The whole call has no time limit.
      - The verification of a pulled model is one step. In our measurement, it took a minute for 50 GB.
    type: float
    default: 300
notes:
  - The module repeats an interrupted pull, for example after a restart of the server, up to O(retries) times. Attempts in which bytes arrived do
    not count. The server resumes the pull; after a restart it has kept the complete parts, of 100 MB or more each.
  - The module works with C(async). It has no time limit of its own.
seealso:
  - module: legionio.ollama.ollama_model_info
  - module: legionio.ollama.ollama_s3_import
  - module: legionio.ollama.ollama_inference
"""

EXAMPLES = r"""
- name: Make a model present, from the registry if it is missing
  legionio.ollama.ollama_model:
    name: smollm2:135m

- name: Update a model to the newest version, however long that takes
  legionio.ollama.ollama_model:
    name: smollm2:135m
    pull: always
    stall_timeout: 600
  async: 86400
  poll: 5

- name: Pull from a private registry without TLS
  legionio.ollama.ollama_model:
    name: registry.example.com:5000/team/smollm2:135m
    insecure: true

- name: Give a model a short name
  legionio.ollama.ollama_model:
    name: assistant
    source: smollm2:135m

- name: Create a model with a system prompt and a long context
  legionio.ollama.ollama_model:
    name: pirate
    create:
      from: smollm2:135m
      system: You are a pirate. Answer in one sentence.
      parameters:
        temperature: 0.4
        num_ctx: 8192
        stop: ["<|im_end|>"]
      messages:
        - {role: user, content: "Who are you?"}
        - {role: assistant, content: "Arr, a pirate!"}

- name: Create a model from a file with weights
  legionio.ollama.ollama_model:
    name: tiny:q4
    create:
      files:
        tiny.gguf: /srv/weights/tiny.gguf
      template: "{{ '{{ .System }} {{ .Prompt }}' }}"
      license:
        - Apache License 2.0

- name: Create a model from the files of a repository
  legionio.ollama.ollama_model:
    name: tiny-bert
    create:
      directory: /srv/weights/tiny-bert

- name: Quantize a model
  legionio.ollama.ollama_model:
    name: all-minilm:q8
    create:
      from: all-minilm
      quantize: q8_0

- name: Publish a model in a private registry
  legionio.ollama.ollama_model:
    name: registry.example.com:5000/team/pirate
    source: pirate
    push: true
    insecure: true

- name: Keep a model in memory for ever, with the context length that requests use
  legionio.ollama.ollama_model:
    name: smollm2:135m
    state: loaded
    keep_alive: -1
    options:
      num_ctx: 4096

- name: Unload a model
  legionio.ollama.ollama_model:
    name: smollm2:135m
    state: unloaded

- name: Delete a model
  legionio.ollama.ollama_model:
    name: tiny:q4
    state: absent
"""

RETURN = r"""
name:
  description: The name of the model in its short form.
  type: str
  returned: success
  sample: smollm2:135m
actions:
  description: The steps taken, or in check mode the steps planned.
  type: list
  elements: str
  returned: success; on failure, the steps before it
  sample: [pull smollm2:135m]
digest_before:
  description: The digest of the model's manifest before the task. V(null) if the server did not have the model.
  type: str
  returned: success
  sample: sha256:9077fe9d2ae1a4a41a868836b56b8163731a8fe16621397028c2c76f838c6907
digest_after:
  description: The digest of the model's manifest after the task. V(null) if the server no longer has the model, or if check mode cannot predict it.
  type: str
  returned: success
  sample: sha256:9077fe9d2ae1a4a41a868836b56b8163731a8fe16621397028c2c76f838c6907
model:
  description: The model on the server, or V(null) if the server does not have it.
  type: dict
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
      description: The size of all its layers in bytes.
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
      description: Whether the model is in memory.
      type: bool
      sample: false
running:
  description: The model in memory.
  type: dict
  returned: success with O(state=loaded), not in check mode
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
      description: The part of RV(running.size) that is on graphics cards, in bytes.
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
error_code:
  description: A stable name of the failure, for example V(model_not_found) or V(ollama_unreachable).
  returned: failure
  type: str
  sample: model_not_found
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import ArgumentSpec
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import PROGRESS, SERVER
from ansible_collections.legionio.ollama.plugins.module_utils._module.ollama_model import model
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run

SPEC = ArgumentSpec(
    {
        "name": {"type": "str", "required": True, "aliases": ["model"]},
        "state": {"type": "str", "choices": ["present", "absent", "loaded", "unloaded"], "default": "present"},
        "pull": {"type": "str", "choices": ["not_present", "always", "never"], "default": "not_present"},
        "source": {"type": "str"},
        "create": {
            "type": "dict",
            "options": {
                "from": {"type": "str"},
                "files": {"type": "dict"},
                "directory": {"type": "path"},
                "adapters": {"type": "dict"},
                "template": {"type": "str"},
                "system": {"type": "str"},
                "parameters": {"type": "dict"},
                "messages": {
                    "type": "list",
                    "elements": "dict",
                    "options": {
                        "role": {"type": "str", "choices": ["system", "user", "assistant"], "required": True},
                        "content": {"type": "str", "required": True},
                    },
                },
                "license": {"type": "list", "elements": "str"},
                "quantize": {"type": "str"},
                "force": {"type": "bool", "default": False},
            },
            "mutually_exclusive": [["from", "files", "directory"]],
            "required_one_of": [["from", "files", "directory"]],
        },
        "push": {"type": "bool", "default": False},
        "insecure": {"type": "bool", "default": False},
        "keep_alive": {"type": "raw"},
        "options": {"type": "dict"},
        "stall_timeout": {"type": "float", "default": 300},
    },
    mutually_exclusive=[["source", "create"]],
)


def main() -> None:
    """Run the module."""
    run(SPEC.merge(SERVER, PROGRESS), model)


if __name__ == "__main__":
    main()
