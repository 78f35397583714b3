#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_request
short_description: Ask a model of the fleet one question through the broker
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Publishes one chat, generate or embed request to a lane of the fleet, waits for the answer, and returns the answer with the node that sent it.
  - The request is published as mandatory and with a publisher confirm, so that a missing or full queue is an error at once instead of a timeout.
  - The request has the format of LegionIO's requesters, in one of the two dialects of lex-ollama 0.3 or in a newer protocol.
notes:
  - The module needs pika for the interpreter that runs it. A host that the role P(legionio.ollama.fleet_worker#role) has set up has such an interpreter
    in the worker's own environment, as the example shows, and needs no package of the distribution.
  - The user needs the permission to write to O(exchange). With O(reply_queue=own), the user also needs the permissions to configure, write and read
    queues named C(llm.fleet.reply.*).
extends_documentation_fragment:
  - legionio.ollama._attributes
  - legionio.ollama._attributes.actiongroup_fleet
  - legionio.ollama._broker
attributes:
  check_mode:
    support: full
    details:
      - Check mode sends nothing. It checks the options, logs in to the broker, and reads the state of the lane's queue. Without such a queue, it fails
        with the error of a request.
  diff_mode:
    support: N/A
    details:
      - A request changes nothing.
  idempotent:
    support: N/A
    details:
      - A request changes nothing, and a model may answer differently every time.
  platform:
    support: full
options:
  type:
    description: The type of the request.
    type: str
    required: true
    choices: [chat, generate, embed]
  model:
    description:
      - The model, in the spelling of its lane. With O(style=model), V(llama3) and V(llama3:latest) are two lanes.
    type: str
    required: true
    aliases: [name]
  messages:
    description: The conversation, each entry with C(role) and C(content). Required if O(type=chat).
    type: list
    elements: dict
  prompt:
    description: The text to continue. Required if O(type=generate).
    type: str
  input:
    description: The texts to embed. Required if O(type=embed).
    type: list
    elements: str
  system:
    description: The system message for O(type=generate). In a chat, use a message with C(role=system) instead.
    type: str
  images:
    description: Image files on the host that the module runs on. In a chat, they belong to the last message.
    type: list
    elements: path
  tools:
    description: Tools that the model may call, as Ollama's chat API describes them.
    type: list
    elements: dict
  format:
    description: V(json), or a JSON schema for the answer, as a dictionary.
    type: raw
  options:
    description:
      - Options of the model, for example C(temperature) or C(seed).
      - Workers drop options that make Ollama reload the model, such as C(num_ctx), unless their configuration allows these options.
      - Workers refuse a value outside the lane's range for an option. The error names the option.
    type: dict
  keep_alive:
    description:
      - How long Ollama keeps the model loaded afterwards, for example V(10m).
      - Workers pass on times from five minutes to an hour, and drop others. If the lane has its own time, they drop this option.
    type: str
  think:
    description: Whether the model thinks before it answers, as a boolean, or how much, as V(low), V(medium) or V(high).
    type: raw
  truncate:
    description: Whether to cut an input that is too long, instead of refusing it.
    type: bool
  dimensions:
    description: Length of the embeddings, for models that offer several. Used if O(type=embed).
    type: int
  style:
    description:
      - The style of the lane that gets the request.
      - V(model) is C(llm.request.ollama.<type>.<model>).
      - V(shared) is C(llm.fleet.embed.<model>) or C(llm.fleet.inference.<model>), which the workers of other providers may serve too.
      - V(offering) is the lane of one node, see O(node).
    type: str
    choices: [model, shared, offering]
    default: model
  context_window:
    description: Context window in tokens, part of the lane's name with O(style=shared). It must be the same as in the workers' configuration.
    type: int
  node:
    description: The node to ask. Required if O(style=offering).
    type: str
  exchange:
    description: The exchange that the lanes are bound to. legion-llm 0.8.36 and newer use C(llm.fleet).
    type: str
    default: llm.request
  dialect:
    description:
      - The format of the request and its answer.
      - V(typed) is that of lex-ollama 0.3.2 to 0.3.10, V(0.3.1) that of lex-ollama 0.3.1.
    type: str
    choices: [typed, "0.3.1"]
    default: typed
  protocol:
    description:
      - Version of LegionIO's newer protocol, instead of O(dialect). LegionIO has not released V(3), and workers serve it only if their configuration
        says so.
      - The protocol has no O(type=generate) and no O(stream). LegionIO's requesters publish to O(exchange=llm.fleet), to lanes of O(style=shared).
      - A worker that does not serve the version answers with an error that says so.
    type: int
    choices: [2, 3]
  provider_instance:
    description: The name of the worker's instance, used with O(protocol).
    type: str
    default: default
  cluster_secret:
    description:
      - The cluster secret of LegionIO, used with O(protocol). It signs the request, which needs the package PyJWT for the interpreter that runs the
        module.
    type: str
  token_issuer:
    description: Issuer of the token that signs the request.
    type: str
    default: legion-llm
  token_audience:
    description: Audience of the token that signs the request.
    type: str
    default: lex-llm-fleet-worker
  encrypt:
    description:
      - Whether to encrypt the request with O(cluster_secret), used with O(protocol). This needs the package cryptography. The answer is not encrypted.
    type: bool
    default: false
  reply_queue:
    description:
      - The queue for the answer.
      - V(own) declares an exclusive queue C(llm.fleet.reply.<random>).
      - V(direct) uses RabbitMQ's direct reply-to, which needs no permission to declare queues. Workers of lex-ollama cannot answer to it.
    type: str
    choices: [own, direct]
    default: own
  stream:
    description:
      - Whether the worker sends pieces of the answer while the model works, before the complete answer.
      - The result is the same, and also has RV(stream) with the time of the first piece. Workers of lex-ollama, and requests with O(type=embed), have
        no pieces.
      - Needs O(dialect=typed).
    type: bool
    default: false
  timeout:
    description: Seconds to wait for the answer. A worker does not start a request that is older.
    type: float
    default: 300
"""

EXAMPLES = r"""
- name: Ask the fleet
  legionio.ollama.fleet_request:
    broker_host: hub.example.com
    broker_username: requester
    broker_password: "{{ requester_password }}"
    type: chat
    model: llama3
    messages:
      - role: user
        content: What is the capital of France?
  register: answer

- name: Show the answer and its node
  ansible.builtin.debug:
    msg: "{{ answer.node }} after {{ answer.seconds }} s: {{ answer.content }}"

- name: Measure the time to the first piece
  legionio.ollama.fleet_request:
    broker_host: hub.example.com
    broker_username: requester
    broker_password: "{{ requester_password }}"
    type: generate
    model: llama3
    prompt: Tell me a story about a lighthouse.
    stream: true
  register: story

- name: Show the times
  ansible.builtin.debug:
    msg: "{{ story.stream.first_seconds }} of {{ story.seconds }} s, {{ story.stream.deltas }} pieces"

- name: Embed two texts, on a node with the interpreter of its worker
  legionio.ollama.fleet_request:
    broker_host: hub.example.com
    broker_username: requester
    broker_password: "{{ requester_password }}"
    type: embed
    model: all-minilm
    input:
      - The quick brown fox
      - jumps over the lazy dog
    timeout: 60
  vars:
    ansible_python_interpreter: /opt/legionio/fleet-worker/current/venv/bin/python

- name: Ask as LegionIO's newer requesters do, signed with the cluster secret
  legionio.ollama.fleet_request:
    broker_host: hub.example.com
    broker_username: requester
    broker_password: "{{ requester_password }}"
    type: chat
    model: llama3
    style: shared
    exchange: llm.fleet
    protocol: 2
    cluster_secret: "{{ legionio_cluster_secret }}"
    messages:
      - role: user
        content: What is the capital of France?

- name: Ask one node for data of a given shape
  legionio.ollama.fleet_request:
    broker_host: hub.example.com
    broker_username: requester
    broker_password: "{{ requester_password }}"
    type: generate
    model: llama3
    style: offering
    node: gpu-01
    prompt: Name a colour and its wavelength.
    format:
      type: object
      properties:
        colour: {type: string}
        nanometres: {type: number}
      required: [colour, nanometres]
"""

RETURN = r"""
stream:
  description:
    - The pieces before the answer. C(deltas) is the number of pieces, C(missing) the number of lost pieces, C(attempts) how often a worker started the
      request, and C(first_seconds) the time from publishing the request to the first piece, null without pieces.
  returned: success, not in check mode, with O(stream=true)
  type: dict
  sample: {"attempts": 1, "deltas": 12, "first_seconds": 0.2114, "missing": 0}
content:
  description: The text of the answer; null for embeddings.
  returned: success, not in check mode
  type: str
  sample: The capital of France is Paris.
message:
  description: The model's whole message, with C(tool_calls) and C(thinking) if there are any; null for embeddings.
  returned: success, not in check mode
  type: dict
  sample: {"role": "assistant", "content": "The capital of France is Paris."}
embeddings:
  description: One vector for each entry of O(input); null for the other types.
  returned: success, not in check mode
  type: list
  elements: list
  sample: [[0.0123, -0.0456, 0.0789]]
model:
  description: The model that answered.
  returned: success, not in check mode
  type: str
  sample: llama3
node:
  description: The node that answered; null if its worker does not name it, as with lex-ollama.
  returned: success, not in check mode
  type: str
  sample: gpu-01
usage:
  description: The numbers of tokens.
  returned: success, not in check mode
  type: dict
  sample: {"input_tokens": 31, "output_tokens": 8}
seconds:
  description: Seconds from publishing the request to the arrival of the answer.
  returned: success, not in check mode
  type: float
  sample: 0.4132
correlation_id:
  description: The id of the request in the logs of the workers.
  returned: success, not in check mode
  type: str
  sample: req_0f7b2c1e-6a5d-4c3b-8f9e-1a2b3c4d5e6f
body:
  description: The whole body of the answer, in the format of O(dialect).
  returned: success, not in check mode
  type: dict
  sample: {"request_type": "chat", "stop": {"reason": "stop"}, "tokens": {"input": 31, "output": 8, "total": 39}}
lane:
  description: The lane, which is the routing key of the request and the name of its queue.
  returned: success
  type: str
  sample: llm.request.ollama.chat.llama3
exchange:
  description: The exchange that the request went to.
  returned: success
  type: str
  sample: llm.request
queue:
  description: The numbers of waiting requests (C(messages)) and of consuming workers (C(consumers)).
  returned: success, in check mode
  type: dict
  sample: {"messages": 0, "consumers": 2}
error_code:
  description:
    - A stable name of the failure, for example V(no_fleet_queue), V(fleet_backpressure), V(fleet_timeout), V(fleet_answer),
      V(broker_unreachable), V(broker_login_refused), V(broker_forbidden) or V(missing_dependency).
  returned: failure
  type: str
  sample: no_fleet_queue
fleet_code:
  description: The code in the worker's answer, if RV(error_code) is V(fleet_answer).
  returned: failure
  type: str
  sample: ollama_unavailable
retriable:
  description: Whether the same request may succeed later, according to the worker, if RV(error_code) is V(fleet_answer).
  returned: failure
  type: bool
  sample: true
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.fleet_request import REQUEST, request
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import BROKER
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run


def main() -> None:
    run(REQUEST.merge(BROKER), request)


if __name__ == "__main__":
    main()
