#!/usr/bin/python
# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_broadcast
short_description: Make every node of a fleet import a model
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Publishes a message to the updates of all nodes. Each node imports the model from its own mirror into its own store, and the module collects the
    nodes' reports.
  - A node imports from the mirror in its configuration, and only models whose names match its own patterns. The message names only the model.
  - A node that is switched off gets the message when it returns within O(timeout).
notes:
  - The module needs pika for the interpreter that runs it, and cryptography for O(signing_key). A host that the role
    P(legionio.ollama.fleet_worker#role) has set up has pika in the worker's own environment.
  - The user needs the permission to write to O(exchange), and to configure, write and read queues named C(llm.fleet.reply.*).
extends_documentation_fragment:
  - legionio.ollama._attributes
  - legionio.ollama._attributes.actiongroup_fleet
  - legionio.ollama._broker
attributes:
  check_mode:
    support: full
    details:
      - In check mode, the nodes compare the mirror with their stores, and report what they would do, without changes.
  diff_mode:
    support: full
    details:
      - Shows the digest of the model's manifest on each node.
  idempotent:
    support: full
  platform:
    support: full
options:
  name:
    description: The model.
    type: str
    required: true
    aliases: [model]
  nodes:
    description:
      - Names of the addressed nodes. Each of them must report, or the task fails.
      - By default, all nodes are addressed, and the module waits for the nodes that take the message within O(discovery) seconds.
    type: list
    elements: str
  exchange:
    description: The exchange that the nodes listen to.
    type: str
    default: lex.ollama
  discovery:
    description: Seconds in which a node must report that it has the message. Not used with O(nodes).
    type: float
    default: 5
  timeout:
    description: Seconds to wait for the last report. After that, a node still finishes an import that it has started.
    type: float
    default: 3600
  signing_key:
    description:
      - File with a private key in PEM, on the host that the module runs on, which signs the broadcast. Nodes that have the public key
        (C(fleet_worker_updates_broadcast_keys)) refuse broadcasts that are unsigned, altered, too old or repeated.
      - The curve is P-256, P-384 or P-521, as for O(legionio.ollama.ollama_s3_publish#module:signing_key), which may be the same key.
      - A signed broadcast is valid for O(timeout), but for a day at most. The clocks of this host and of a node may differ by 15 minutes.
    type: path
  signing_key_passphrase:
    description: Passphrase of O(signing_key), if it has one.
    type: str
"""

EXAMPLES = r"""
- name: Import a model on all nodes
  legionio.ollama.fleet_broadcast:
    broker_host: hub.example.com
    broker_username: requester
    broker_password: "{{ requester_password }}"
    name: smollm2:135m
  register: imported

- name: Show the reports of the nodes
  ansible.builtin.debug:
    msg: "{{ imported.nodes }}"

- name: Import the model on two nodes, and fail if one of them does not report
  legionio.ollama.fleet_broadcast:
    broker_host: hub.example.com
    broker_username: requester
    broker_password: "{{ requester_password }}"
    name: smollm2:135m
    nodes:
      - gpu-01
      - gpu-02
    timeout: 600

- name: Import the model on all nodes, including those that demand a signature
  legionio.ollama.fleet_broadcast:
    broker_host: hub.example.com
    broker_username: requester
    broker_password: "{{ requester_password }}"
    name: smollm2:135m
    signing_key: broadcasts.pem
"""

RETURN = r"""
nodes:
  description:
    - The report of each node, by its name. C(state) is V(done), V(failed) or, if the node was still importing, V(accepted).
    - A report with V(done) has C(changed), C(model), C(before) and C(after) (digests of the manifest), C(blobs_downloaded), C(blobs_skipped) and C(bytes);
      in check mode, these are predictions. A report with V(failed) has C(error) with C(code) and C(message).
    - A node that imports from its neighbours adds C(bytes_from_peers), and C(peers), a list of at most 20 neighbours with C(peer), C(bytes), C(state) and
      C(problem); first the neighbours with problems, then those that sent most.
  returned: when the message was published
  type: dict
  sample:
    gpu-01:
      state: done
      changed: true
      model: smollm2:135m
      before: null
      after: sha256:9077fe9d2ae1a4a41a868836b56b8163731a8fe16621397028c2c76f838c6907
      blobs_downloaded: 5
      blobs_skipped: 0
      bytes: 270898672
missing:
  description: Nodes without a final report in time.
  returned: when the message was published
  type: list
  elements: str
  sample: []
correlation_id:
  description: The correlation id of the broadcast's messages.
  returned: when the message was published
  type: str
  sample: bcast_0f7b2c1e-6a5d-4c3b-8f9e-1a2b3c4d5e6f
error_code:
  description:
    - A stable name of the failure, for example V(broadcast_failed) (a node failed or did not report, or no node took the broadcast),
      V(no_fleet_queue) (no node has a queue), V(broker_unreachable) or V(broker_forbidden).
  returned: failure
  type: str
  sample: broadcast_failed
"""

from ansible_collections.legionio.ollama.plugins.module_utils._module.fleet_broadcast import BROADCAST, broadcast
from ansible_collections.legionio.ollama.plugins.module_utils._module.groups import BROKER
from ansible_collections.legionio.ollama.plugins.module_utils._module.running import run


def main() -> None:
    run(BROADCAST.merge(BROKER), broadcast)


if __name__ == "__main__":
    main()
