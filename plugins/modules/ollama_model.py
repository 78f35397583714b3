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
  - Nodes that have no way to a registry get their models from a mirror instead, by M(legionio.ollama.ollama_s3_import).
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
      - What a registry has is not asked. With O(pull=always) a change is assumed, and so is it with O(push=true).
      - The digest that a pull brings is not known.
      - The digest that a creation brings is not known. It is assumed to change something when O(create) differs from the model in a part that
        the server shows. If the server comes to the same model nevertheless, the task reports no change once it is run.
      - Copies, deletions, loads and unloads are predicted exactly.
  diff_mode:
    support: full
    details:
      - Shows names, digests and sizes; with O(create) also template, system prompt, parameters, messages, license and the digests of weights.
  idempotent:
    support: partial
    details:
      - Each O(push=true) counts as a change, since the server does not tell whether the registry had the model.
      - Everything else changes nothing when run again.
  platform:
    support: full
options:
  name:
    description: The model, in any form of its name, so that V(llama3) means V(registry.ollama.ai/library/llama3:latest).
    type: str
    required: true
    aliases: [model]
  state:
    description:
      - V(present) makes sure that the server has the model, which comes from its registry, from O(source) or from O(create).
      - V(absent) makes sure that it does not. Blobs that no other model uses go too.
      - V(loaded) makes sure that the model, which must be present, is in memory.
      - V(unloaded) makes sure that it is not. Requests that it is answering are waited for, up to O(timeout).
    type: str
    choices: [present, absent, loaded, unloaded]
    default: present
  pull:
    description:
      - When the model is pulled from the registry that its name tells. With O(source) or O(create), this is about the model that they start from.
      - V(not_present) pulls what is missing, V(always) also looks for a newer version of what is there, and V(never) fails for what is missing.
    type: str
    choices: [not_present, always, never]
    default: not_present
  source:
    description: The model that O(name) is to be a copy of.
    type: str
  create:
    description:
      - What the model is to be made from, in the words of a Modelfile.
      - The model is compared with what this makes, and made anew only if a part differs. Parts that are not given are those of O(create.from).
      - Where the server makes new weights, by O(create.quantize) or from files that are not in GGUF format, only their family, size and
        quantization are compared. Use O(create.force) after changing such files.
    type: dict
    suboptions:
      from:
        description: The model to start from.
        type: str
      files:
        description:
          - The files to start from, by the name that each has in the model, such as V(model.safetensors) or V(1_Pooling/config.json).
          - They are on the machine that runs the module, and are uploaded as far as the server lacks them.
        type: dict
      directory:
        description:
          - A directory to start from, on the machine that runs the module.
          - Taken are its files that end with C(.gguf), C(.safetensors), C(.json), C(.model), C(.txt) and C(.jinja), also those in directories below it.
        type: path
      adapters:
        description: Files of LoRA adapters, as in O(create.files).
        type: dict
      template:
        description: The template of prompts, in the syntax of Ollama.
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
        description: The messages that every chat begins with.
        type: list
        elements: dict
        suboptions:
          role:
            description: Whose message it is.
            type: str
            choices: [system, user, assistant]
            required: true
          content:
            description: What it says.
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
        description: Whether to make the model also when no difference is seen.
        type: bool
        default: false
  push:
    description: Whether to push the model to the registry that its name tells, once it is present.
    type: bool
    default: false
  insecure:
    description: Whether to talk plain HTTP to the registry.
    type: bool
    default: false
  keep_alive:
    description:
      - How long the model stays in memory after O(state=loaded), as seconds or as a time with units such as V(10m). A negative time keeps it for good.
      - A time that is given starts anew with each run, which is no change; from some time to for good, or back, is one.
      - If not set, the server decides, and a model that is loaded already is left alone.
    type: raw
  options:
    description:
      - Runner options to load the model with for O(state=loaded), such as C(num_ctx).
      - A model that is loaded with another C(num_ctx) is loaded anew, if the server tells its context length. Other options of a loaded model cannot be seen.
    type: dict
  stall_timeout:
    description:
      - How long a pull, push or creation may stand still, in seconds, before the module gives up.
      - There is no limit for the whole, however large the model is. Bytes that arrive count, and new steps; that the server still answers does not.
      - The verification of a pulled model is one step, which took a minute for 50 GB on the machine it was measured on.
    type: float
    default: 300
notes:
  - A pull that is interrupted, for example by a restart of the server, is asked for again up to O(retries) times, not counting those after which
    bytes had arrived. The server goes on with what it has kept; a server that was restarted has kept the complete parts, of 100 MB or more each.
  - The module works with C(async). It has no time limit of its own.
seealso:
  - module: legionio.ollama.ollama_model_info
  - module: legionio.ollama.ollama_s3_import
  - module: legionio.ollama.ollama_inference
"""

EXAMPLES = r"""
- name: A model is there, from the registry if need be
  legionio.ollama.ollama_model:
    name: smollm2:135m

- name: The newest version of it, however long that takes
  legionio.ollama.ollama_model:
    name: smollm2:135m
    pull: always
    stall_timeout: 600
  async: 86400
  poll: 5

- name: From a registry of our own, which has no certificate
  legionio.ollama.ollama_model:
    name: registry.example.com:5000/team/smollm2:135m
    insecure: true

- name: The same under a short name
  legionio.ollama.ollama_model:
    name: assistant
    source: smollm2:135m

- name: A model with a character and a long memory
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

- name: A model from a file with its weights
  legionio.ollama.ollama_model:
    name: tiny:q4
    create:
      files:
        tiny.gguf: /srv/weights/tiny.gguf
      template: "{{ '{{ .System }} {{ .Prompt }}' }}"
      license:
        - Apache License 2.0

- name: A model from the files of a repository
  legionio.ollama.ollama_model:
    name: tiny-bert
    create:
      directory: /srv/weights/tiny-bert

- name: A smaller model from a larger one
  legionio.ollama.ollama_model:
    name: all-minilm:q8
    create:
      from: all-minilm
      quantize: q8_0

- name: Publish a model in our registry
  legionio.ollama.ollama_model:
    name: registry.example.com:5000/team/pirate
    source: pirate
    push: true
    insecure: true

- name: It is in memory for good, with the context that requests will ask for
  legionio.ollama.ollama_model:
    name: smollm2:135m
    state: loaded
    keep_alive: -1
    options:
      num_ctx: 4096

- name: It makes room for another one
  legionio.ollama.ollama_model:
    name: smollm2:135m
    state: unloaded

- name: It is gone
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
  description: What was done, or would be in check mode.
  type: list
  elements: str
  returned: success, and on failure what was done before
  sample: [pull smollm2:135m]
digest_before:
  description: The digest of the model's manifest before. V(null) if the server did not have the model.
  type: str
  returned: success
  sample: sha256:9077fe9d2ae1a4a41a868836b56b8163731a8fe16621397028c2c76f838c6907
digest_after:
  description: The digest of the model's manifest afterwards. V(null) if the server no longer has the model, or if it cannot be known in check mode.
  type: str
  returned: success
  sample: sha256:9077fe9d2ae1a4a41a868836b56b8163731a8fe16621397028c2c76f838c6907
model:
  description: The model as it is on the server, V(null) if it is not.
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
      description: Whether the model is in memory.
      type: bool
      sample: false
running:
  description: The model as it is in memory.
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
      description: The memory it takes in all, in bytes.
      type: int
      sample: 214028288
    size_vram:
      description: The part of RV(running.size) that is on graphics cards, in bytes.
      type: int
      sample: 0
    context_length:
      description: The context length that it was loaded with, in tokens. Not known to older servers.
      type: int
      sample: 4096
    expires_at:
      description: When the server unloads it, unless it is used again. A year after 2300 means never.
      type: str
      sample: "2026-11-22T17:46:17.622403859Z"
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
