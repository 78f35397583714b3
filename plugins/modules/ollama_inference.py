#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_inference
short_description: Ask a model on an Ollama server once
version_added: 1.0.0
author: legionio.ollama authors (@LegionIO)
description:
  - Makes a model continue a prompt (O(prompt)), answer a chat (O(messages)) or turn texts into vectors (O(input)).
  - Use it to load a model in advance, to check that a model answers, or to get structured data in a playbook.
extends_documentation_fragment:
  - legionio.ollama._server
  - legionio.ollama._attributes
  - legionio.ollama._attributes.actiongroup_server
attributes:
  check_mode:
    support: full
    details:
      - Check mode does not ask the model. It validates the options, and fails if the server does not have the model.
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
  idempotent:
    support: N/A
    details:
      - This module changes nothing. A model may answer the same question differently, less so with a C(temperature) of 0 in O(options).
  platform:
    support: full
options:
  name:
    description: The model.
    type: str
    required: true
    aliases: [model]
  prompt:
    description: The text to continue.
    type: str
  messages:
    description:
      - The chat to answer. Each message has a C(role) (V(system), V(user), V(assistant) or V(tool)) and a C(content).
      - C(images) of a message is a list of files on the machine that runs the module.
      - Further keys, such as C(tool_calls), are passed on unchanged.
    type: list
    elements: dict
  input:
    description: The texts to turn into vectors.
    type: list
    elements: str
  system:
    description: A system prompt, instead of the model's own. With O(messages), it becomes the first message.
    type: str
  suffix:
    description: The text after the place where the model inserts text. For O(prompt), with a model that supports insertion.
    type: str
  raw:
    description: Whether to pass O(prompt) to the model unchanged, without the model's template.
    type: bool
  images:
    description: Image files for O(prompt), or for the last of O(messages), on the machine that runs the module.
    type: list
    elements: path
  format:
    description:
      - The format of the answer, as V(json) or as a dictionary with a JSON schema.
      - RV(data) is the decoded answer.
    type: raw
  tools:
    description: The tools that the model may call, in the format of Ollama's API. For O(messages).
    type: list
    elements: dict
  think:
    description:
      - Whether a model that can think does so before it answers. Some models accept V(low), V(medium) and V(high).
      - Needs Ollama 0.9.0 or newer.
    type: raw
  options:
    description:
      - Runner options such as C(temperature), C(seed), C(num_ctx) or C(num_predict).
      - The server reloads a model that is loaded with other values of C(num_ctx), C(num_batch), C(num_gpu), C(num_thread) or C(use_mmap).
    type: dict
  keep_alive:
    description:
      - How long the model stays in memory afterwards, in seconds or with units such as V(10m).
      - V(0) unloads the model. A negative time keeps it for ever. If not set, the server decides.
    type: raw
  truncate:
    description: Whether the server cuts off a text of O(input) that is too long for the model, instead of failing. By default it does.
    type: bool
  dimensions:
    description:
      - The length of the vectors, for models that offer several.
      - Needs Ollama 0.11.11 or newer.
    type: int
  total_timeout:
    description:
      - How long the whole answer may take, in seconds, including retries.
      - If not set, only O(timeout) applies, which limits the time without data. A chat sends data from its first word on, an embedding only at its end.
    type: float
notes:
  - Question and answer are in the output of the task. Set C(no_log=true) if they are confidential.
seealso:
  - module: legionio.ollama.ollama_model
    description: With O(legionio.ollama.ollama_model#module:state=loaded), it loads a model without a question.
"""

EXAMPLES = r"""
- name: Check that the model answers
  legionio.ollama.ollama_inference:
    name: smollm2:135m
    messages:
      - role: user
        content: What is the capital of France?
  register: answer
  failed_when: "'Paris' not in answer.text"

- name: Extract data in the form of a schema
  legionio.ollama.ollama_inference:
    name: smollm2:135m
    prompt: "The server gpu-01 has 4 cards. Describe it as JSON."
    format:
      type: object
      properties:
        name: {type: string}
        cards: {type: integer}
      required: [name, cards]
    options:
      temperature: 0
      num_predict: 100
  register: server

- name: Use the data
  ansible.builtin.debug:
    msg: "{{ server.data.name }} has {{ server.data.cards }} cards ({{ server.usage.output_tokens }} tokens)"

- name: Turn texts into vectors
  legionio.ollama.ollama_inference:
    name: all-minilm
    input:
      - a cat
      - a theorem
  register: vectors

- name: Load the model, and keep it in memory for an hour
  legionio.ollama.ollama_inference:
    name: smollm2:135m
    prompt: Hello
    options:
      num_predict: 1
    keep_alive: 1h
"""

RETURN = r"""
model:
  description: The name of the model.
  type: str
  returned: success
  sample: smollm2:135m
text:
  description: The answer.
  type: str
  returned: success, for O(prompt) and O(messages), not in check mode
  sample: The capital of France is Paris.
data:
  description: The answer, decoded.
  type: raw
  returned: success, with O(format), not in check mode, unless the model asks for a tool instead of answering
  sample: {name: gpu-01, cards: 4}
thinking:
  description: The model's thinking before the answer.
  type: str
  returned: success, for O(prompt) and O(messages), not in check mode
  sample: The user asks for a capital.
tool_calls:
  description: The tool calls of the model.
  type: list
  elements: dict
  returned: success, for O(prompt) and O(messages), not in check mode
  sample: [{function: {name: get_weather, arguments: {city: Paris}}}]
done_reason:
  description: Why the answer ended. V(length) means that it was cut off.
  type: str
  returned: success, for O(prompt) and O(messages), not in check mode
  sample: stop
embeddings:
  description: One vector for each text.
  type: list
  elements: list
  returned: success, for O(input), not in check mode
  sample: [[0.0093, -0.0211, 0.0442]]
usage:
  description: The tokens and times of the answer.
  type: dict
  returned: success, not in check mode
  contains:
    input_tokens:
      description: Tokens of the question. Tokens that the server had kept from an earlier question may be missing.
      type: int
      sample: 31
    output_tokens:
      description: Tokens of the answer; 0 for O(input).
      type: int
      sample: 8
    total_duration:
      description: The total time, in nanoseconds.
      type: int
      sample: 884790000
    load_duration:
      description: The time to load the model, in nanoseconds.
      type: int
      sample: 412000000
    prompt_eval_duration:
      description: The time to read the question, in nanoseconds.
      type: int
      sample: 120000000
    eval_duration:
      description: The time to write the answer, in nanoseconds.
      type: int
      sample: 210000000
error_code:
  description: A stable name of the failure, for example V(model_not_found) or V(ollama_timeout).
  returned: failure
  type: str
  sample: model_not_found
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.argspec import ArgumentSpec
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import SERVER
from ansible_collections.legionio.ollama.plugins.module_utils._module.ollama_inference import inference
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run

SPEC = ArgumentSpec(
    {
        "name": {"type": "str", "required": True, "aliases": ["model"]},
        "prompt": {"type": "str"},
        "messages": {"type": "list", "elements": "dict"},
        "input": {"type": "list", "elements": "str"},
        "system": {"type": "str"},
        "suffix": {"type": "str"},
        "raw": {"type": "bool"},
        "images": {"type": "list", "elements": "path"},
        "format": {"type": "raw"},
        "tools": {"type": "list", "elements": "dict"},
        "think": {"type": "raw"},
        "options": {"type": "dict"},
        "keep_alive": {"type": "raw"},
        "truncate": {"type": "bool"},
        "dimensions": {"type": "int"},
        "total_timeout": {"type": "float"},
    },
    mutually_exclusive=[
        ["prompt", "messages", "input"],
        ["input", "system"],
        ["input", "images"],
        ["input", "format"],
        ["input", "think"],
    ],
    required_one_of=[["prompt", "messages", "input"]],
    required_by={
        "suffix": ["prompt"],
        "raw": ["prompt"],
        "tools": ["messages"],
        "dimensions": ["input"],
        "truncate": ["input"],
    },
)


def main() -> None:
    """Run the module."""
    run(SPEC.merge(SERVER), inference)


if __name__ == "__main__":
    main()
