#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_info
short_description: Show the lanes and the nodes of a fleet
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Looks at the queues of lanes at the broker, passively, and returns the number of waiting requests and of consuming workers.
  - Listens to the registry events of the nodes for some seconds, and returns which lanes they serve, and why they do not serve others.
  - Without O(lanes) and O(listen) it only logs in, and returns which broker it found.
notes:
  - The module needs pika for the interpreter that runs it. A host that the role P(legionio.ollama.fleet_worker#role) has set up has one in
    the worker's own environment, as the examples show.
  - To look at a queue takes no permission beyond entering the virtual host; RabbitMQ 4.3 wants the one to configure the queue.
  - To listen takes the permission to read C(llm.registry), and to configure, write and read queues named C(llm.fleet.reply.*).
  - A node with more to do than it can run at once asks its lanes for requests instead of consuming them, and is then not among
    RV(lanes[].consumers). RV(lanes[].nodes) tells who serves a lane.
extends_documentation_fragment:
  - legionio.ollama._attributes
  - legionio.ollama._attributes.actiongroup_fleet
  - legionio.ollama._broker
attributes:
  check_mode:
    support: full
    details:
      - A look changes nothing.
  diff_mode:
    support: N/A
    details:
      - A look changes nothing.
  idempotent:
    support: full
    details:
      - A look changes nothing.
  platform:
    support: full
options:
  lanes:
    description: Lanes to look at, in addition to those that the nodes report.
    type: list
    elements: dict
    default: []
    suboptions:
      type:
        description: The type of the lane's requests.
        type: str
        required: true
        choices: [chat, generate, embed]
      model:
        description: The model, in the spelling that the lane has.
        type: str
        required: true
      style:
        description: The style of the lane, as for M(legionio.ollama.fleet_request).
        type: str
        choices: [model, shared, offering]
        default: model
      context_window:
        description: Context window in tokens, part of the lane's name with O(lanes[].style=shared).
        type: int
      node:
        description: The node whose lane it is. Needed when O(lanes[].style=offering).
        type: str
  listen:
    description:
      - Seconds to listen to the nodes.
      - A worker reports each of its lanes every 30 seconds (the default of its role), and at once when something changes. With 35 seconds every
        node is heard that is there.
    type: float
    default: 0
"""

EXAMPLES = r"""
- name: See whether anything waits for a model
  legionio.ollama.fleet_info:
    broker_url: "amqp://requester:{{ requester_password }}@hub.example.com"
    lanes:
      - {type: chat, model: llama3}
      - {type: embed, model: all-minilm, style: shared}
  register: fleet

- name: Show what waits
  ansible.builtin.debug:
    msg: "{{ fleet.lanes | items2dict(key_name='queue', value_name='messages') }}"

- name: Hear every node, on a node that has nothing but its worker
  legionio.ollama.fleet_info:
    broker_host: hub.example.com
    broker_username: requester
    broker_password: "{{ requester_password }}"
    listen: 35
  vars:
    ansible_python_interpreter: /opt/legionio/fleet-worker/current/venv/bin/python
  register: fleet

- name: Stop when a lane of a node is not served
  ansible.builtin.assert:
    that: fleet.nodes | map(attribute='lanes') | flatten | rejectattr('status', 'equalto', 'available') | length == 0
    fail_msg: "{{ fleet.nodes | map(attribute='lanes') | flatten | map(attribute='error') | select | join('; ') }}"
"""

RETURN = r"""
broker:
  description: What the broker says of itself.
  returned: success
  type: dict
  sample: {"cluster_name": "rabbit@hub", "product": "RabbitMQ", "version": "4.0.5"}
lanes:
  description: Those of O(lanes), and those that the nodes have told of.
  returned: success
  type: list
  elements: dict
  contains:
    queue:
      description: The name of the queue.
      type: str
      returned: success
      sample: llm.request.ollama.chat.llama3
    type:
      description: What is asked for in the lane; null when a node does not say.
      type: str
      returned: success
      sample: chat
    model:
      description: The model.
      type: str
      returned: success
      sample: llama3
    style:
      description: The style of the lane.
      type: str
      returned: success
      sample: model
    exists:
      description: Whether there is such a queue.
      type: bool
      returned: success
      sample: true
    messages:
      description: Requests that wait in it. Those that a worker has taken and not answered yet are not among them.
      type: int
      returned: success
      sample: 3
    consumers:
      description: Workers that wait for requests at this moment.
      type: int
      returned: success
      sample: 2
    nodes:
      description: The nodes that say that they serve it; empty with O(listen=0).
      type: list
      elements: str
      returned: success
      sample: [gpu-01, gpu-02]
nodes:
  description: The nodes that were heard.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name of the node.
      type: str
      returned: success
      sample: gpu-01
    state:
      description: V(available) when it serves all of its lanes, V(degraded) when it cannot serve one of them, V(unavailable) when it has left.
      type: str
      returned: success
      sample: available
    models:
      description: The models of the lanes that it serves.
      type: list
      elements: str
      returned: success
      sample: [all-minilm:latest, llama3]
    worker_version:
      description: The version of its worker; null when it does not say.
      type: str
      returned: success
      sample: 1.0.0
    concurrency:
      description: Requests that it runs at the same time; null when it does not say.
      type: int
      returned: success
      sample: 2
    lanes:
      description: Its lanes, each with C(queue), C(type), C(model), C(style), C(context_window), C(status) (V(available), V(degraded) or V(unavailable)),
        C(error_class) and C(error) when it is degraded, and C(at), the time by the node's clock.
      type: list
      elements: dict
      returned: success
      sample:
        - queue: llm.request.ollama.chat.llama3
          type: chat
          model: llama3
          style: model
          context_window: null
          status: available
          error_class: null
          error: null
          at: "2026-11-22T10:00:00.123456Z"
error_code:
  description: What kind of failure it is, for example V(broker_unreachable), V(broker_login_refused), V(broker_forbidden) or V(exchange_missing).
  returned: failure
  type: str
  sample: exchange_missing
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.fleet_info import INFO, info
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import BROKER
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run


def main() -> None:
    run(INFO.merge(BROKER), info)


if __name__ == "__main__":
    main()
