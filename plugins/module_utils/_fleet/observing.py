# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The state of a fleet, gathered from the registry events of its nodes.

The reader is tolerant, because workers of lex-ollama publish too: it leaves out events without a lane or a node, and a
late event does not undo a newer one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple, Optional

from .._ollama.text import SHOWN, printable
from .messages import Message, decode
from .registry import TYPE

#: Names that both DNS and Ansible's patterns allow for a host. The length is that of RFC 1035, 2.3.4.
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")

#: Names that have another meaning for Ansible. A host with the name 127.0.0.1 replaces the machine that runs Ansible
#: (``C.LOCALHOST``).
_RESERVED = ("all", "ungrouped", "localhost", "127.0.0.1")

#: The longest name of a queue in bytes (AMQP 0-9-1, short string).
_LONGEST_QUEUE = 255

#: The most bytes of an event, and the most characters of the names of node and model, and of an error. Anybody who may
#: publish to the registry decides how long they are, and readers keep thousands of events.
_LARGEST = 65536
_LONGEST_NODE = 255
_LONGEST_MODEL = _LONGEST_ERROR = 1000

#: Seconds for which an event may be under way while a later event of the same node arrives.
OVERTAKEN = 5.0

#: The states of a node. It is degraded if it cannot serve one of its lanes, or reports an unknown status for one.
AVAILABLE, DEGRADED, UNAVAILABLE = "available", "degraded", "unavailable"


@dataclass(frozen=True)
class RegistryEntry:
    """The state of a lane on a node, as the node has published it.

    :ivar status: ``available``, ``degraded`` or ``unavailable``.
    :ivar at: time of the event by the node's clock, ISO 8601.
    :ivar error: why the lane is degraded.
    :ivar concurrency: requests that the node runs at the same time.
    :ivar carried: the version of the carried dialect that the node serves; None if the event does not have it.
    :ivar worker_version: the version of the node's worker; None if the event does not have it.
    """

    node: str
    queue: str
    event: str
    at: str
    status: Optional[str] = None
    model: Optional[str] = None
    request_type: Optional[str] = None
    style: Optional[str] = None
    context_window: Optional[int] = None
    concurrency: Optional[int] = None
    error_class: Optional[str] = None
    error: Optional[str] = None
    carried: Optional[int] = None
    worker_version: Optional[str] = None


class Heard(NamedTuple):
    """The latest event of a lane, and the time when the event arrived, by a clock that never goes back."""

    when: float
    entry: RegistryEntry

    def overtook(self, entry: RegistryEntry, now: float) -> bool:
        """Return whether an event that arrives now is older than this one, and was only overtaken on the way.

        An older event that arrives much later is no late one: the clock of the node has stepped back.
        """
        # All times of a node have the same format, so the later one is the greater text.
        return entry.at < self.entry.at and now - self.when < OVERTAKEN


def read(message: Message) -> Optional[RegistryEntry]:
    """Read a registry event; return None for any other message, and for an event without a valid lane or a node.

    The texts of the entry are printable, and have bounds.
    """
    document, problem = decode(message, limit=_LARGEST)
    if problem is not None or message.properties.type != TYPE:
        return None
    offering, health = _object(document.get("offering")), _object(document.get("health"))
    named = _object(document.get("runtime")).get("node") or offering.get("provider_instance")
    node = _text(named, _LONGEST_NODE)
    queue = document.get("lane")
    if node is None or not isinstance(queue, str) or not 0 < len(queue.encode("utf-8", "replace")) <= _LONGEST_QUEUE:
        return None
    if not queue.isprintable():  # half a surrogate pair, too, which no protocol can carry
        return None
    return RegistryEntry(
        node=node,
        queue=queue,
        event=_text(document.get("event_type")) or "",
        at=_text(document.get("occurred_at")) or "",
        status=_text(health.get("status")),
        model=_text(offering.get("model"), _LONGEST_MODEL),
        request_type=_text(_object(document.get("metadata")).get("request_type")),
        style=_text(_object(offering.get("metadata")).get("lane_style")),
        context_window=_number(_object(offering.get("limits")).get("context_window")),
        concurrency=_number(_object(document.get("capacity")).get("concurrency")),
        error_class=_text(health.get("error_class")),
        error=_text(health.get("error"), _LONGEST_ERROR),
        carried=_number(_object(document.get("metadata")).get("carried")),
        worker_version=_text(_object(document.get("metadata")).get("worker_version")),
    )


class Register:
    """The latest event of each lane of each node."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest: dict[tuple[str, str], Heard] = {}

    def add(self, message: Message) -> None:
        """Take a registry event in; ignore other messages."""
        entry = read(message)
        if entry is None:
            return
        known, now = self._latest.get((entry.node, entry.queue)), self._clock()
        if known is None or not known.overtook(entry, now):
            self._latest[entry.node, entry.queue] = Heard(now, entry)

    @property
    def latest(self) -> list[RegistryEntry]:
        """The latest entries, sorted by node and lane."""
        return [self._latest[key].entry for key in sorted(self._latest)]


@dataclass(frozen=True)
class NodeState:
    """The state of a node, according to its own registry events.

    :ivar state: ``available`` when it serves all of its lanes, ``degraded`` when it cannot serve one of them, and
        ``unavailable`` when it has left all of them. A lane that it has left counts only then.
    :ivar models: the models of the lanes that it serves, sorted.
    :ivar concurrency: requests that it runs at the same time; None if unknown.
    :ivar worker_version: the version of its worker; None if unknown.
    """

    name: str
    state: str
    models: tuple[str, ...]
    concurrency: Optional[int]
    worker_version: Optional[str]
    lanes: tuple[RegistryEntry, ...]


def nodes(entries: Iterable[RegistryEntry]) -> list[NodeState]:
    """Return the nodes of the entries, sorted by name."""
    lanes: dict[str, list[RegistryEntry]] = {}
    for entry in entries:
        lanes.setdefault(entry.node, []).append(entry)
    return [_node(name, tuple(lanes[name])) for name in sorted(lanes)]


def _node(name: str, lanes: tuple[RegistryEntry, ...]) -> NodeState:
    # A lane that the node has left is not one of its lanes any more, for example after the removal of a model.
    statuses = {lane.status or DEGRADED for lane in lanes} - {UNAVAILABLE} or {UNAVAILABLE}
    latest = max(lanes, key=lambda lane: lane.at)
    return NodeState(
        name=name,
        state=statuses.pop() if statuses in ({AVAILABLE}, {UNAVAILABLE}) else DEGRADED,
        models=tuple(sorted({lane.model for lane in lanes if lane.model and lane.status == AVAILABLE})),
        concurrency=max((lane.concurrency for lane in lanes if lane.concurrency is not None), default=None),
        worker_version=latest.worker_version,
        lanes=lanes,
    )


def is_host_name(name: str) -> bool:
    """Return whether the name of a node is valid for a host of an inventory. Anybody may announce any name."""
    return _HOST_NAME.fullmatch(name) is not None and name not in _RESERVED


def lane_facts(entry: RegistryEntry) -> dict[str, Any]:
    """Return the fields of an entry that results and variables show."""
    return {
        "queue": entry.queue,
        "type": entry.request_type,
        "model": entry.model,
        "style": entry.style,
        "context_window": entry.context_window,
        "status": entry.status,
        "error_class": entry.error_class,
        "error": entry.error,
        "at": entry.at,
    }


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, longest: int = SHOWN) -> Optional[str]:
    return printable(value, longest) if isinstance(value, str) and value else None


def _number(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
