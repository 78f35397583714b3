# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Topology of the broker: exchanges, the dead-letter queue, the lanes, and the rights of their users.

The set-up of the broker makes the exchanges and the dead-letter queue from :func:`definitions`. A worker only declares
and binds its own lanes. It does not check whether an exchange exists: binding to a missing exchange fails with the same
error, while a passive declaration needs the right to configure the exchange from RabbitMQ 4.3 on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from .._ollama.text import printable
from .broadcasts import EXCHANGE as BROADCAST_EXCHANGE
from .broadcasts import queue_of
from .control import control_queue_of
from .errors import BrokerError, LaneMismatchError
from .lanes import DEAD_LETTER_EXCHANGE, Lane
from .registry import EXCHANGE as REGISTRY_EXCHANGE

#: LegionIO up to legion-llm 0.8.35 publishes requests to the first, newer versions to the second.
REQUEST_EXCHANGES = ("llm.request", "llm.fleet")

#: The queue for the dead-lettered requests of model lanes.
DEAD_LETTER_QUEUE = "ollama.dlx.queue"


def definitions(vhost: str, exchanges: Iterable[str] = REQUEST_EXCHANGES) -> dict[str, Any]:
    """Return the definitions of exchanges and dead-letter queue for ``rabbitmqctl import_definitions``.

    All exchanges are durable, are not deleted automatically and have no arguments, as LegionIO declares them.
    """
    common = {"vhost": vhost, "durable": True, "auto_delete": False, "arguments": {}}
    return {
        "exchanges": [
            *(
                {**common, "name": name, "type": "topic", "internal": False}
                for name in (*exchanges, REGISTRY_EXCHANGE, BROADCAST_EXCHANGE)
            ),
            {**common, "name": DEAD_LETTER_EXCHANGE, "type": "fanout", "internal": False},
        ],
        "queues": [{**common, "name": DEAD_LETTER_QUEUE, "type": "classic"}],
        "bindings": [
            {
                "source": DEAD_LETTER_EXCHANGE,
                "vhost": vhost,
                "destination": DEAD_LETTER_QUEUE,
                "destination_type": "queue",
                "routing_key": "#",
                "arguments": {},
            }
        ],
    }


def worker_permissions(lanes: Iterable[Lane], exchanges: Iterable[str], node: str) -> dict[str, str]:
    """Return the patterns of the rights that a worker of these lanes needs, and no more.

    Declaring a queue that dead-letters needs the right to write to the dead-letter exchange. Binding a queue needs the
    rights to write to the queue and to read from the exchange. Answers go to the default exchange (``amq.default``),
    and registry events to the exchange of the registry. Cancellations come through the control queue of the node.
    """
    control = control_queue_of(node)
    own = [lane.queue for lane in lanes]
    return {
        "configure": _pattern([*own, control]),
        "write": _pattern(["amq.default", DEAD_LETTER_EXCHANGE, REGISTRY_EXCHANGE, *own]),
        "read": _pattern([*exchanges, *own, control]),
    }


def updates_permissions(node: str) -> dict[str, str]:
    """Return the patterns of the rights that the updates of a node need, and no more."""
    own = queue_of(node)
    return {
        "configure": _pattern([own]),
        "write": _pattern(["amq.default", REGISTRY_EXCHANGE, own]),
        "read": _pattern([BROADCAST_EXCHANGE, own]),
    }


def declare_error(code: int, text: str, lane: Lane, error: BrokerError) -> BrokerError:
    """Return the error for a lane that the broker refused to declare or bind.

    :param code: reply code of AMQP 0-9-1; 406 for a queue with other arguments.
    :param text: its reply text, which names the first argument that differs, with both values.
    :param error: the error for any channel that was closed like this.
    """
    if code == 406 and "inequivalent" in text:
        return LaneMismatchError(
            f"The queue {lane.queue} exists with other arguments. Wanted: durable=true, auto_delete=false,"
            f" {json.dumps(lane.arguments, sort_keys=True)}. Found: {printable(text, 500)}",
            remedy="Another program declares it differently (lex-ollama 0.3.2 to 0.3.4 does): change its settings, let"
            " the queue run empty and delete it, or choose another style for this lane",
            queue=lane.queue,
        )
    error.message = f"The lane {lane.queue} cannot be used: {error.message}"
    error.details["queue"] = lane.queue
    return error


def _pattern(names: Iterable[str]) -> str:
    return "^(" + "|".join(re.escape(name) for name in names) + ")$"
