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
  - Reads the state of lanes' queues at the broker without changing them, and returns the numbers of waiting requests and of consuming workers.
  - Listens to the registry events of the nodes for some seconds, and returns the lanes that they serve, and the reasons why they do not serve others.
  - Without O(lanes) and O(listen), the module only logs in, and returns the broker's description of itself.
notes:
  - The module needs pika for the interpreter that runs it. A host that the role P(legionio.ollama.fleet_worker#role) has set up has such an interpreter
    in the worker's own environment, as the examples show.
  - Reading the state of a queue needs no permission beyond access to the virtual host. RabbitMQ 4.3 requires the permission to configure the queue.
  - Listening needs the permissions to read C(llm.registry), and to configure, write and read queues named C(llm.fleet.reply.*).
  - A node with more work than it can run at once fetches requests from its lanes instead of consuming them. Then RV(lanes[].consumers) does not count
    it, but RV(lanes[].nodes) lists it.
extends_documentation_fragment:
  - legionio.ollama._attributes
  - legionio.ollama._attributes.actiongroup_fleet
  - legionio.ollama._broker
attributes:
  check_mode:
    support: full
    details:
      - This module changes nothing.
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
  idempotent:
    support: full
    details:
      - This module changes nothing.
  platform:
    support: full
options:
  lanes:
    description: Lanes to return, in addition to those that the nodes report.
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
        description: The model, in the spelling of the lane.
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
        description: The node of the lane. Required if O(lanes[].style=offering).
        type: str
  listen:
    description:
      - Seconds to listen to the nodes.
      - A worker reports each of its lanes every 30 seconds (the default of its role), and at once when something changes. In 35 seconds, the module hears
        every running node.
    type: float
    default: 0
"""

EXAMPLES = r"""
- name: Read the state of two lanes
  legionio.ollama.fleet_info:
    broker_host: hub.example.com
    broker_username: requester
    broker_password: "{{ requester_password }}"
    lanes:
      - {type: chat, model: llama3}
      - {type: embed, model: all-minilm, style: shared}
  register: fleet

- name: Show the number of waiting requests of each lane
  ansible.builtin.debug:
    msg: "{{ fleet.lanes | items2dict(key_name='queue', value_name='messages') }}"

- name: Hear every node, on a node with the interpreter of its worker
  legionio.ollama.fleet_info:
    broker_host: hub.example.com
    broker_username: observer
    broker_password: "{{ observer_password }}"
    listen: 35
  vars:
    ansible_python_interpreter: /opt/legionio/fleet-worker/current/venv/bin/python
  register: fleet

- name: Fail if a node does not serve one of its lanes
  ansible.builtin.assert:
    that: fleet.nodes | map(attribute='lanes') | flatten | rejectattr('status', 'equalto', 'available') | length == 0
    fail_msg: "{{ fleet.nodes | map(attribute='lanes') | flatten | map(attribute='error') | select | join('; ') }}"
"""

RETURN = r"""
broker:
  description: The broker's description of itself.
  returned: success
  type: dict
  sample: {"cluster_name": "rabbit@hub", "product": "RabbitMQ", "version": "4.0.5"}
lanes:
  description: The lanes of O(lanes), and those that the nodes have reported.
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
      description: The type of the lane's requests; null if a node does not report it.
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
      description:
        - Whether the queue exists.
        - It is null, and so are C(messages) and C(consumers), if only a node has named the queue, and the broker refuses to tell.
      type: bool
      returned: success
      sample: true
    messages:
      description: Requests that wait in the queue, without those that a worker has taken.
      type: int
      returned: success
      sample: 3
    consumers:
      description: Workers that are consuming the queue at this moment.
      type: int
      returned: success
      sample: 2
    nodes:
      description: The nodes that report that they serve the lane; empty with O(listen=0).
      type: list
      elements: str
      returned: success
      sample: [gpu-01, gpu-02]
nodes:
  description: The nodes that the module heard.
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
      description: V(available) if the node serves all of its lanes, V(degraded) if it cannot serve one of them, V(unavailable) if it has left.
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
      description: The version of its worker; null if the worker does not report it.
      type: str
      returned: success
      sample: 1.0.0
    concurrency:
      description: Requests that the node runs at the same time; null if it does not report the number.
      type: int
      returned: success
      sample: 2
    lanes:
      description: Its lanes, each with C(queue), C(type), C(model), C(style), C(context_window), C(status) (V(available), V(degraded) or V(unavailable)),
        C(error_class) and C(error) if it is degraded, and C(at), the time by the node's clock.
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
  description: A stable name of the failure, for example V(broker_unreachable), V(broker_login_refused), V(broker_forbidden) or V(exchange_missing).
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
