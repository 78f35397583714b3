# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The state of a fleet: its queues at the broker, and the events of its nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._fleet.broker_connection import BrokerConnection
from .._fleet.errors import BrokerError, InvalidQuestionError
from .._fleet.exchange_listener import listen
from .._fleet.lanes import STYLES, TYPES, Lane, lane
from .._fleet.observing import Register, RegistryEntry, lane_facts, nodes
from .._fleet.registry import EVERYTHING, EXCHANGE
from .argspec import ArgumentSpec
from .broker_options import broker_settings

INFO = ArgumentSpec(
    {
        "lanes": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "type": {"type": "str", "required": True, "choices": list(TYPES)},
                "model": {"type": "str", "required": True},
                "style": {"type": "str", "choices": list(STYLES), "default": "model"},
                "context_window": {"type": "int"},
                "node": {"type": "str"},
            },
            "required_if": [("style", "offering", ["node"])],
        },
        "listen": {"type": "float", "default": 0.0},
    }
)

#: The fields of the broker's own description in the result.
_BROKER = ("product", "version", "cluster_name")


def info(module: AnsibleModule) -> dict[str, Any]:
    """Read the state of lanes, and listen to nodes."""
    params = module.params
    if not 0 <= params["listen"] < math.inf:
        raise InvalidQuestionError(
            f"listen is {params['listen']:g}", remedy="Give the seconds to listen to the nodes, or 0 to not listen"
        )
    asked = {entry.queue: entry for entry in map(_lane, params["lanes"])}
    register = Register()
    with BrokerConnection(broker_settings(params)) as connection:
        if params["listen"]:
            listen(connection, [(EXCHANGE, EVERYTHING)], params["listen"], register.add)
        latest = register.latest
        by_queue: dict[str, list[RegistryEntry]] = {queue: [] for queue in asked}
        for entry in latest:
            by_queue.setdefault(entry.queue, []).append(entry)
        return {
            "changed": False,
            "broker": {name: connection.server_properties.get(name) for name in _BROKER},
            "lanes": [_described(connection, queue, asked.get(queue), entries) for queue, entries in by_queue.items()],
            "nodes": _nodes(latest),
        }


def _lane(options: Mapping[str, Any]) -> Lane:
    return lane(
        options["type"],
        options["model"],
        style=options["style"],
        context_window=options["context_window"],
        node=options["node"],
    )


def _described(
    connection: BrokerConnection, queue: str, known: Optional[Lane], entries: Sequence[RegistryEntry]
) -> dict[str, Any]:
    state = _state(connection, queue, required=known is not None)
    return {
        "queue": queue,
        "type": known.type if known else entries[0].request_type,
        "model": known.model if known else entries[0].model,
        "style": known.style if known else entries[0].style,
        **state,
        "nodes": [one.node for one in entries if one.status == "available"],
    }


def _state(connection: BrokerConnection, queue: str, *, required: bool) -> dict[str, Any]:
    """Return whether a queue exists, its messages and consumers; None for each if the broker does not tell.

    :param required: whether an error of the broker is raised. Anybody may announce any queue as a lane.
    """
    try:
        state = connection.queue_state(queue)
    except BrokerError:
        if required or connection.gone is not None:
            raise
        return dict.fromkeys(("exists", "messages", "consumers"))
    return {
        "exists": state is not None,
        "messages": state.messages if state else 0,
        "consumers": state.consumers if state else 0,
    }


def _nodes(entries: Sequence[RegistryEntry]) -> list[dict[str, Any]]:
    return [
        {
            "name": node.name,
            "state": node.state,
            "models": list(node.models),
            "concurrency": node.concurrency,
            "worker_version": node.worker_version,
            "lanes": [lane_facts(lane) for lane in node.lanes],
        }
        for node in nodes(entries)
    ]
