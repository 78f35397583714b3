# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Registry events: the offers of a node, published for the registry of a fleet.

The format is that of lex-ollama 0.3.8 to 0.3.10 with lex-llm 0.1.6, which sends one stream of events for each lane: to
the exchange ``llm.registry``, with the routing key ``llm.registry.<event type>``. Deliberate differences: ``app_id`` is
our own, and lanes of the style ``model``, which those versions do not have, are published like any other.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Optional

from .._ollama.text import printable
from .dialects.headers import BASE
from .lanes import Lane, slug
from .messages import APP_ID, Message, Properties, Reply, encode

#: A durable topic exchange, declared by the set-up of the broker.
EXCHANGE = "llm.registry"

#: The binding key of all messages in the exchange.
EVERYTHING = f"{EXCHANGE}.#"

TYPE = "llm.registry.event"

#: A lane is served from now on; is still served; is not served, although the node is there; or the node leaves.
AVAILABLE = "offering_available"
HEARTBEAT = "offering_heartbeat"
DEGRADED = "offering_degraded"
UNAVAILABLE = "offering_unavailable"

#: Version of the carried dialect, which this node serves on all of its lanes.
CARRIED_VERSION = 1

_STATUS = {AVAILABLE: "available", HEARTBEAT: "available", DEGRADED: "degraded", UNAVAILABLE: "unavailable"}
_CAPABILITIES = {"embed": "embedding", "generate": "completion", "chat": "chat"}


#: The capabilities in an event of version 2: those of lex-llm-ollama for a model that does not state its own.
_ABILITIES = {"embed": ["embedding"], "generate": ["completion"], "chat": ["chat", "streaming", "tools", "vision"]}


@dataclass(frozen=True)
class Trouble:
    """Why a lane is not served.

    :ivar kind: a word for programs, such as ``ollama_unavailable``.
    :ivar text: for people.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Offering:
    """A lane as a node offers it.

    :ivar concurrency: requests that the node runs at the same time.
    :ivar consumer_priority: the node's priority among the consumers of the queue.
    :ivar worker_version: the version of the node's worker; None leaves it out of the events.
    """

    lane: Lane
    node: str
    concurrency: int
    consumer_priority: int = 0
    worker_version: Optional[str] = None

    def event(self, event_type: str, trouble: Optional[Trouble] = None) -> Reply:
        """Return the message of an event, made now.

        :param event_type: one of the constants of this module.
        :param trouble: the reason for an ``offering_degraded``.
        """
        lane = self.lane
        kind = "embed" if lane.type == "embed" else "inference"
        usage_type = "embedding" if kind == "embed" else "inference"
        health: dict[str, Any] = {
            "ready": _STATUS[event_type] == "available",
            "status": _STATUS[event_type],
        }
        if trouble is not None:
            health.update(error_class=trouble.kind, error=printable(trouble.text, 500))
        body: dict[str, Any] = {
            "event_id": str(uuid.uuid4()),
            "event_type": event_type,
            "occurred_at": _now(),
            "offering": {
                "offering_id": ":".join(("ollama", slug(self.node), usage_type, slug(lane.model))),
                "provider_family": "ollama",
                "model_family": None,
                "provider_instance": self.node,
                "instance_id": self.node,
                "transport": "rabbitmq",
                "tier": "fleet",
                "model": lane.model,
                "canonical_model_alias": lane.model,
                "routing_metadata": {"lane": lane.queue},
                "usage_type": usage_type,
                "capabilities": [_CAPABILITIES[lane.type]],
                "limits": {} if lane.context_window is None else {"context_window": lane.context_window},
                "health": {},
                "cost": {},
                "policy_tags": [],
                "metadata": {"lex": "ollama", "lane_style": lane.style},
            },
            "runtime": {"node": self.node, "scheduler": "subscription", "polling": False},
            "capacity": {
                "concurrency": self.concurrency,
                "consumer_priority": self.consumer_priority,
                "queue_max_length": lane.arguments.get("x-max-length"),
            },
            "health": health,
            "lane": lane.queue,
            "metadata": {
                "extension": "lex_ollama",
                "request_type": lane.type,
                "lane_kind": kind,
                "carried": CARRIED_VERSION,
            },
        }
        if self.worker_version is not None:
            body["metadata"]["worker_version"] = self.worker_version
        return _published(event_type, body)

    def version2_event(self, instance: str, trouble: Optional[Trouble], *, leaves: bool) -> Reply:
        """Return the message of an event as lex-llm 0.4 to 0.7.6 sends it, made now.

        In such an event, an offering is available or unavailable. The event names no lane and no capacity.

        :param instance: the name of the node for requesters of that version.
        :param leaves: whether the node leaves.
        """
        available = trouble is None and not leaves
        event_type = AVAILABLE if available else UNAVAILABLE
        health: dict[str, Any] = {
            "ready": available,
            "status": "available" if available else "unavailable",
            "checked": True,
        }
        if trouble is not None:
            health.update(error_class=trouble.kind, error=printable(trouble.text, 500))
        metadata = {"extension": "lex_llm_ollama", "provider": "ollama", "model_name": self.lane.model}
        body = {
            "event_id": str(uuid.uuid4()),
            "event_type": event_type,
            "occurred_at": _now(),
            "offering": {
                "provider_family": "ollama",
                "provider_instance": instance,
                "transport": "http",
                "model": self.lane.model,
                "usage_type": "embedding" if self.lane.type == "embed" else "inference",
                "capabilities": _ABILITIES[self.lane.type],
                "limits": {} if self.lane.context_window is None else {"context_window": self.lane.context_window},
                "metadata": metadata,
            },
            "runtime": {"node": self.node},
            "health": health,
            "metadata": metadata,
        }
        return _published(event_type, body)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _published(event_type: str, body: dict[str, Any]) -> Reply:
    properties = Properties(content_type="application/json", type=TYPE, app_id=APP_ID, delivery_mode=1)
    return Reply(EXCHANGE, f"llm.registry.{event_type}", Message(properties, BASE, encode(body)))
