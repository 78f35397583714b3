# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory of the nodes that report to the registry of a fleet."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet
short_description: The live nodes of a fleet as an inventory
version_added: 1.0.0
author:
  - The legionio.ollama authors (@legionio)
description:
  - Listens to the registry events of the workers, and creates a host for each node that sends one, with its models and lanes as variables.
  - A node that is off, or whose worker does not run, sends no events, so it is not in the inventory.
  - The host has the name of the node, which is C(fleet_worker_node) of P(legionio.ollama.fleet_worker#role), by default the machine's host name. With a
    second inventory that has the same names, the hosts have the variables of both, and groups and patterns can select the live hosts.
  - The name of the inventory file must end in C(fleet.yml) or C(fleet.yaml).
notes:
  - The plugin needs pika for the Python that runs Ansible.
  - The user at the broker needs the permission to read C(llm.registry), and to configure, write and read queues named C(llm.fleet.reply.*).
  - Everybody who may write to C(llm.registry) can invent hosts. The plugin leaves out names that no host can have, with a warning, and never treats texts
    of events as templates.
  - With O(cache), later runs do not listen again. The cache plugin V(memory) lasts only one run.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
  - legionio.ollama._broker
options:
  plugin:
    description: Marks the file as one for this plugin.
    type: str
    required: true
    choices: [legionio.ollama.fleet]
  listen:
    description:
      - Seconds to listen to the nodes.
      - A worker reports each of its lanes every 30 seconds (the default of its role). In 35 seconds, the plugin hears every running node.
    type: float
    default: 35
  group:
    description: The group of all nodes that the plugin hears.
    type: str
    default: fleet
  keyed_groups:
    description:
      - Groups made from variables. By default, one group for each model and each lane that a node serves, for each state, and for each version of the worker.
      - Ansible replaces each character of a name that no group can have by V(_). So the nodes that serve the lane C(llm.request.ollama.chat.llama3) are in
        the group C(lane_llm_request_ollama_chat_llama3).
      - A worker of lex-ollama does not tell its version, so its node is in C(worker_unknown).
    type: list
    elements: dict
    default:
      - {key: fleet_models, prefix: model}
      - {key: "fleet_lanes | selectattr('status', 'equalto', 'available') | map(attribute='queue') | list", prefix: lane}
      - {key: fleet_state, prefix: state}
      - {key: fleet_worker_version or 'unknown', prefix: worker}
  broker_url:
    description:
      - The broker as a URL, for example C(amqps://user:password@hub.example.com:5671/vhost). The scheme C(amqps) means TLS.
      - Percent-encode each character of the user name, the password and the virtual host that has a meaning in a URL, such as V(/), V(?), V(#), V(@) and V(%).
        O(broker_username) and O(broker_password) take them as they are.
      - Excludes O(broker_host), O(broker_port), O(broker_vhost), O(broker_username), O(broker_password) and O(broker_tls).
    type: str
    env:
      - name: FLEET_BROKER_URL
  broker_password:
    description: Password of O(broker_username). It may be a value encrypted by ansible-vault.
    type: str
    env:
      - name: FLEET_BROKER_PASSWORD
"""

EXAMPLES = r"""
# fleet.yml
plugin: legionio.ollama.fleet
broker_host: [hub.example.com]
broker_username: observer # the password is in FLEET_BROKER_PASSWORD
broker_ca_path: /etc/ssl/certs/fleet-ca.pem
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/fleet-inventory
cache_timeout: 300
# List the nodes with the model:
#   ansible-inventory -i fleet.yml --graph model_llama3
# List the nodes that serve the lane llm.request.ollama.chat.llama3:
#   ansible-inventory -i fleet.yml --graph lane_llm_request_ollama_chat_llama3
# List the live hosts of another inventory that cannot serve all of their lanes:
#   ansible -i hosts.yml -i fleet.yml state_degraded --list-hosts

---
# Addresses made from names, and an additional group. A host has these variables:
#   fleet_state: available
#   fleet_models: [llama3]
#   fleet_concurrency: 2
#   fleet_worker_version: 1.0.0
#   fleet_lanes: a list, as fleet_info returns it for a node
plugin: legionio.ollama.fleet
broker_host: [hub-01.example.com, hub-02.example.com]
broker_username: observer
compose:
  ansible_host: inventory_hostname ~ '.gpu.example.com'
groups:
  large: fleet_concurrency >= 4
"""

import math
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ..module_utils._fleet.broker_connection import BrokerConnection
from ..module_utils._fleet.exchange_listener import listen
from ..module_utils._fleet.observing import Register, is_host_name, lane_facts, nodes
from ..module_utils._fleet.registry import EVERYTHING, EXCHANGE
from ..module_utils._module.broker_options import broker_settings, require_one_broker
from ..module_utils._module.groups import BROKER
from ..module_utils._ollama.errors import CollectionError
from ..module_utils._ollama.text import printable


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    """Creates a host for each node."""

    NAME = "legionio.ollama.fleet"

    def verify_file(self, path: str) -> bool:
        """Return whether the file is one for this plugin, by its name."""
        return bool(super().verify_file(path)) and path.endswith(("fleet.yml", "fleet.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory.

        :raises AnsibleParserError: if the file is invalid, or the plugin cannot listen to the nodes.
        """
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        key = self.get_cache_key(path)
        cached = self.get_option("cache")
        found: Any = None
        if cached and cache:
            found = self._cache.get(key)
        if found is None:
            found = self._hear()
            if cached:
                self._cache[key] = found
        self._populate(found)

    def _hear(self) -> dict[str, dict[str, Any]]:
        """Listen; return the variables of each node."""
        params = {name: self._broker_option(name) for name in BROKER.argument_spec}
        seconds = self.get_option("listen")
        if not 0 < seconds < math.inf:
            raise AnsibleParserError(
                f"listen is {seconds:g}. Give the seconds to listen to the nodes, for example 35 to hear all of them."
            )
        register = Register()
        try:
            require_one_broker(params, "Set broker_host or broker_url, or FLEET_BROKER_URL in the environment")
            with BrokerConnection(broker_settings(params)) as connection:
                listen(connection, [(EXCHANGE, EVERYTHING)], seconds, register.add)
        except CollectionError as error:
            raise AnsibleParserError(f"The nodes of the fleet cannot be heard: {error}") from error
        return {
            node.name: {
                "fleet_state": node.state,
                "fleet_models": list(node.models),
                "fleet_concurrency": node.concurrency,
                "fleet_worker_version": node.worker_version,
                "fleet_lanes": [lane_facts(lane) for lane in node.lanes],
            }
            for node in nodes(register.latest)
            if node.state != "unavailable"
        }

    def _broker_option(self, name: str) -> Any:
        value = self.get_option(name)
        return self.templar.template(value) if isinstance(value, (str, list)) else value

    def _populate(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        strict = self.get_option("strict")
        group = self.inventory.add_group(self.get_option("group"))
        for name, variables in found.items():
            if not is_host_name(name):
                self.display.warning(
                    f"The inventory leaves out the node {printable(name, 80)!r}, because no host can have this name."
                )
                continue
            self.inventory.add_host(name, group=group)
            for key, value in variables.items():
                self.inventory.set_variable(name, key, value)
            hostvars = self.inventory.get_host(name).get_vars()
            self._set_composite_vars(self.get_option("compose"), hostvars, name, strict=strict)
            hostvars = self.inventory.get_host(name).get_vars()
            self._add_host_to_composed_groups(self.get_option("groups"), hostvars, name, strict=strict)
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), hostvars, name, strict=strict)
