# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Changes of a fleet, found in the registry events of its nodes and in their silence.

Knows no broker and no clock: the caller hands in messages and times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Optional

from .._ollama.errors import InvalidNameError
from .._ollama.names import ModelName
from .._ollama.text import printable
from .broadcasts import DONE, IMPORT, OUTCOME_TYPE, BroadcastRefusedError, read_order, read_outcome
from .messages import Message
from .observing import Heard, RegistryEntry, is_host_name, read
from .registry import TYPE as REGISTRY_TYPE

#: The most remembered lanes of nodes, so that invented events cannot fill the memory.
MAX_ENTRIES = 20_000

#: Names of queues, which workers make from types, models and nodes. Rules pass them to playbooks.
_LANE = re.compile(r"[A-Za-z0-9._:/-]{1,255}")

_BRACES = str.maketrans("{}", "()")

#: A change as an event for rules: ``type``, and the fields of this type.
Change = dict[str, Any]


@dataclass
class _Node:
    """A node that has announced a lane and is not gone.

    :ivar lanes: the latest event of each of its lanes.
    """

    lanes: dict[str, Heard] = field(default_factory=dict)

    @property
    def degraded(self) -> bool:
        return any(lane.entry.status == "degraded" for lane in self.lanes.values())


@dataclass
class _Lane:
    """A lane that some node has announced.

    :ivar announced: the nodes that have announced it, whether they serve it or not.
    :ivar served: the nodes that serve it.
    :ivar since: the time since which no node serves it; None while a node does.
    :ivar reported: whether the outage was reported as a change.
    """

    latest: RegistryEntry
    announced: set[str] = field(default_factory=set)
    served: set[str] = field(default_factory=set)
    since: Optional[float] = None
    reported: bool = False


def rule_text(value: Any) -> Optional[str]:
    """Return a text without the braces of a template, because rules pass texts to playbooks as variables.

    :return: None for a value that is not a text.
    """
    return printable(value, 500).translate(_BRACES) if isinstance(value, str) else None


class FleetWatch:
    """Remembers the nodes and lanes of a fleet, and returns what changes.

    :param node_timeout: seconds of silence after which a node is gone, or has dropped a lane. A worker that was killed
        may start again with fewer lanes, and does not say which of them it has dropped.
    :param lane_timeout: seconds after which a lane that no node serves is reported. The restart of the only worker is
        no outage. Also, the first event of a lane may come from a node that does not serve it.
    """

    def __init__(self, node_timeout: float, lane_timeout: float) -> None:
        self._node_timeout = node_timeout
        self._lane_timeout = lane_timeout
        self._nodes: dict[str, _Node] = {}
        self._lanes: dict[str, _Lane] = {}
        self._entries = 0

    def hear(self, message: Message, now: float) -> list[Change]:
        """Process a message; return the changes that it reports. Ignore unknown messages.

        :param now: seconds of a clock that never goes back.
        """
        if message.properties.type == REGISTRY_TYPE:
            entry = read(message)
            usable = entry is not None and is_host_name(entry.node) and _LANE.fullmatch(entry.queue)
            return self._take(entry, now) if entry is not None and usable else []
        if message.properties.type == OUTCOME_TYPE:
            return _imported(message)
        return _announced(message)

    def check(self, now: float) -> list[Change]:
        """Return the changes that have no message: nodes that are gone, and lanes that stay unserved."""
        changes: list[Change] = []
        for name, node in list(self._nodes.items()):
            silent = [lane.entry for lane in node.lanes.values() if now - lane.when >= self._node_timeout]
            if len(silent) == len(node.lanes):
                changes += self._leave(name, node, now, left=False)
            else:
                for entry in silent:
                    changes += self._drop(entry, node, now)
        for lane in self._lanes.values():
            if not lane.reported and lane.since is not None and now - lane.since >= self._lane_timeout:
                lane.reported = True
                changes.append(_lane_change("lane_unserved", lane))
        return changes

    def resume(self, now: float) -> None:
        """Restart the timeouts after a time in which no message could arrive."""
        for node in self._nodes.values():
            node.lanes = {queue: Heard(now, lane.entry) for queue, lane in node.lanes.items()}
        for lane in self._lanes.values():
            if lane.since is not None and not lane.reported:
                lane.since = now

    def _take(self, entry: RegistryEntry, now: float) -> list[Change]:
        node = self._nodes.get(entry.node)
        known = None if node is None else node.lanes.get(entry.queue)
        if known is not None and known.overtook(entry, now):
            return []
        if entry.status == "unavailable":
            return [] if node is None or known is None else self._drop(entry, node, now)
        if known is None and (self._entries >= MAX_ENTRIES or not self._has_room_for(entry)):
            return []
        changes: list[Change] = []
        if node is None:
            node = self._nodes[entry.node] = _Node()
            changes.append(
                {"type": "node_joined", "node": entry.node, "worker_version": rule_text(entry.worker_version)}
            )
        self._entries += known is None
        was_degraded = node.degraded
        node.lanes[entry.queue] = Heard(now, entry)
        changes += self._note_lane(entry, now)
        if entry.status == "degraded" and (known is None or _trouble(known.entry) != _trouble(entry)):
            changes.append(
                {"type": "node_degraded", "node": entry.node}
                | _lane_facts(entry)
                | {"error_class": rule_text(entry.error_class), "error": rule_text(entry.error)}
            )
        elif was_degraded and not node.degraded:
            changes.append({"type": "node_recovered", "node": entry.node})
        return changes

    def _drop(self, entry: RegistryEntry, node: _Node, now: float) -> list[Change]:
        """Take a lane from its node; the node is gone with its last lane."""
        was_degraded = node.degraded
        if len(node.lanes) == 1:
            return self._leave(entry.node, node, now, left=True)
        del node.lanes[entry.queue]
        self._forget(entry, now)
        recovered = was_degraded and not node.degraded
        return [{"type": "node_recovered", "node": entry.node}] if recovered else []

    def _leave(self, name: str, node: _Node, now: float, *, left: bool) -> list[Change]:
        del self._nodes[name]
        for lane in node.lanes.values():
            self._forget(lane.entry, now)
        return [{"type": "node_gone", "node": name, "left": left, "lanes": sorted(node.lanes)}]

    def _forget(self, entry: RegistryEntry, now: float) -> None:
        self._entries -= 1
        lane = self._lanes[entry.queue]
        lane.announced.discard(entry.node)
        lane.served.discard(entry.node)
        if not lane.served and lane.since is None:
            lane.since = now

    def _note_lane(self, entry: RegistryEntry, now: float) -> list[Change]:
        """Note whether a node serves a lane; return the change when the lane is served again."""
        lane = self._lanes.setdefault(entry.queue, _Lane(entry))
        lane.latest = entry
        lane.announced.add(entry.node)
        if entry.status == "available":
            lane.served.add(entry.node)
            reported, lane.since, lane.reported = lane.reported, None, False
            return [_lane_change("lane_served", lane)] if reported else []
        lane.served.discard(entry.node)
        if not lane.served and lane.since is None:
            lane.since = now
        return []

    def _has_room_for(self, entry: RegistryEntry) -> bool:
        """Return whether the lane is known, or can be remembered; forget lanes that no node announces if it must."""
        if entry.queue not in self._lanes and len(self._lanes) >= MAX_ENTRIES:
            self._lanes = {queue: lane for queue, lane in self._lanes.items() if lane.announced}
        return entry.queue in self._lanes or len(self._lanes) < MAX_ENTRIES


def _announced(message: Message) -> list[Change]:
    try:
        order = read_order(message)
    except BroadcastRefusedError:
        return []
    model = _model(order.model)
    if order.function != IMPORT or model is None:
        return []
    nodes = None if order.nodes is None else list(filter(is_host_name, order.nodes))
    return [{"type": "model_announced", "model": model, "nodes": nodes}]


def _imported(message: Message) -> list[Change]:
    outcome = read_outcome(message)
    if outcome is None or outcome.function != IMPORT or not is_host_name(outcome.report.node):
        return []
    report = outcome.report
    about: Change = {"node": report.node, "model": _model(outcome.model)}
    if report.state == DONE:
        return [{"type": "model_imported"} | about | {"changed": report.result.get("changed") is True}]
    error = {"error_class": rule_text(report.error.get("code")), "error": rule_text(report.error.get("message"))}
    return [{"type": "model_import_failed"} | about | error]


def _model(name: Optional[str]) -> Optional[str]:
    """Return the name of a model; None for an invalid name."""
    try:
        ModelName.parse(name or "")
    except InvalidNameError:
        return None
    return name


def _trouble(entry: RegistryEntry) -> tuple[Optional[str], Optional[str]]:
    return entry.status, entry.error_class


def _lane_facts(entry: RegistryEntry) -> Change:
    return {"lane": entry.queue, "model": _model(entry.model), "request_type": rule_text(entry.request_type)}


def _lane_change(kind: str, lane: _Lane) -> Change:
    return {"type": kind} | _lane_facts(lane.latest) | {"nodes": sorted(lane.announced)}
