# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's view of the fleet: the lanes that live nodes announce on the registry."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Callable, NamedTuple, Optional

from .._fleet.lanes import NODE
from .._fleet.messages import Message
from .._fleet.observing import Heard, RegistryEntry, read
from .._ollama.carried_paths import CARRIED_PATHS, OLLAMA
from .._ollama.errors import InvalidNameError
from .._ollama.names import ModelName

#: The most kept entries, so that malicious events cannot fill the memory.
MAX_ENTRIES = 20_000

#: Seconds during which the gateway expects a lost model back: its node, or the Ollama there, may have restarted.
RECENT = 600.0

#: The most slots of a lane that the gateway believes.
MOST_SLOTS = 1_000_000

#: Styles of lanes that any node may serve. Lanes of the other styles belong to one node.
_STYLES = ("model", "shared")


class Announcement(NamedTuple):
    """The latest registry event of a node for a lane.

    :ivar seconds_ago: seconds since the gateway received the event.
    """

    seconds_ago: float
    entry: RegistryEntry


@dataclass(frozen=True)
class OwnLane:
    """The lane of one node. The queue passes requests that the node does not take in time to the lane of all nodes.

    :ivar slots: the most requests that the node runs at a time.
    """

    node: str
    queue: str
    slots: int


@dataclass(frozen=True)
class ServedLane:
    """A lane that live nodes serve.

    :ivar nodes: the names of these nodes.
    :ivar slots: the most requests that these nodes run at a time.
    :ivar own: the lanes of single nodes for the same model and call.
    """

    queue: str
    model: str
    nodes: tuple[str, ...]
    slots: int
    own: tuple[OwnLane, ...] = ()


@dataclass(frozen=True)
class ServedModel:
    """A model that live nodes serve.

    :ivar calls: the calls with a lane, of ``chat``, ``generate`` and ``embed``.
    :ivar since: the time of the first announcement, in seconds since 1970.
    """

    name: str
    calls: tuple[str, ...]
    nodes: tuple[str, ...]
    since: float


class FleetView:
    """Keeps the latest announcement of each node for each of its lanes.

    The view computes lanes and models after a change, because computing them for each request would be too slow.

    :param timeout: seconds without an announcement after which a node counts as gone.
    """

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout
        self._clock = clock
        self._entries: dict[tuple[str, str], Heard] = {}
        self._since: dict[str, float] = {}
        #: The computed lanes and models, and the time until which they are valid.
        self._by_queue: dict[str, list[RegistryEntry]] = {}
        self._by_model: dict[str, list[RegistryEntry]] = {}
        self._lanes: dict[tuple[str, str], ServedLane] = {}
        self._holds_until = -math.inf

    def add(self, message: Message) -> bool:
        """Take a registry event; return whether it changed the state of a lane."""
        entry = read(message)
        if entry is None:
            return False
        key = (entry.node, entry.queue)
        known = self._entries.get(key)
        now = self._clock()
        if known is not None and known.overtook(entry, now):
            return False
        if known is None and len(self._entries) >= MAX_ENTRIES:
            self._drop_old()
            if len(self._entries) >= MAX_ENTRIES:
                return False
        self._entries[key] = Heard(now, entry)
        if (
            known is None
            or known.when < now - self._timeout
            or replace(known.entry, at=entry.at, event=entry.event) != entry
        ):
            self._holds_until = -math.inf
        return known is None or known.entry.status != entry.status

    def lane_of(self, path: str, model: str) -> Optional[ServedLane]:
        """Return the lane for a request; ``None`` if no live node serves one.

        :param path: one of ``CARRIED_PATHS``.
        :param model: the model in the client's spelling.
        """
        self._follow()
        lane = self._lanes.get((path, model))
        if lane is None:
            lane = self._look_for(path, model)
            if lane is not None and len(self._lanes) < MAX_ENTRIES:
                self._lanes[path, model] = lane
        return lane

    def had(self, model: str) -> bool:
        """Return whether any node has announced a model in the last minutes, although no node may serve it now."""
        oldest, wanted = self._clock() - max(RECENT, self._timeout), _full(model)
        return any(
            heard >= oldest and entry.style in _STYLES and _full(entry.model or "") == wanted
            for heard, entry in self._entries.values()
        )

    def models(self) -> list[ServedModel]:
        """Return the served models, sorted by name."""
        self._follow()
        found: dict[str, list[RegistryEntry]] = {}
        for entries in self._by_model.values():
            for entry in entries:
                if entry.style in _STYLES:
                    found.setdefault(short_name(entry.model or ""), []).append(entry)
        if len(self._since) > MAX_ENTRIES:
            self._since = {name: since for name, since in self._since.items() if name in found}
        return [
            ServedModel(
                name,
                tuple(sorted({entry.request_type or "" for entry in entries})),
                tuple(sorted({entry.node for entry in entries})),
                self._since.setdefault(name, time.time()),
            )
            for name, entries in sorted(found.items())
        ]

    def model_of(self, name: str) -> Optional[ServedModel]:
        """Return a served model by any spelling of its name; ``None`` if no live node serves it."""
        wanted = _full(name)
        return next((model for model in self.models() if _full(model.name) == wanted), None)

    def lanes(self) -> list[ServedLane]:
        """Return the served lanes, sorted by name, without the lanes of single nodes."""
        self._follow()
        return [
            _lane(queue, entries, self._by_model.get(_full(entries[0].model or ""), ()))
            for queue, entries in sorted(self._by_queue.items())
            if entries[0].style != NODE
        ]

    def slots_of(self, queue: str) -> int:
        """Return the most requests that the nodes of a lane run at a time."""
        self._follow()
        entries = self._by_queue.get(queue)
        return 0 if entries is None else _slots(entries)

    def announcements(self) -> list[Announcement]:
        """Return the latest announcement of each node for each of its lanes, of any status."""
        now = self._clock()
        return [Announcement(max(0.0, now - heard), entry) for heard, entry in self._entries.values()]

    def nodes_of(self, queue: str) -> tuple[str, ...]:
        """Return all known nodes that have ever served a lane, because any of them may have a request of the lane."""
        return tuple(sorted({node for node, name in self._entries if name == queue}))

    def _look_for(self, path: str, model: str) -> Optional[ServedLane]:
        known = CARRIED_PATHS[path]
        found: dict[str, list[RegistryEntry]] = {}
        same_model = self._by_model.get(_full(model), [])
        for entry in same_model:
            fits = entry.request_type == known.call or (
                entry.style != "model" and known.call != "embed" and entry.request_type != "embed"
            )
            # Only requests of Ollama's own interface can have the context window that such a lane requires.
            sayable = entry.context_window is None or known.interface == OLLAMA
            if fits and sayable and entry.style in _STYLES:
                found.setdefault(entry.queue, []).append(entry)
        lanes = [_lane(queue, entries, same_model) for queue, entries in found.items()]
        return max(lanes, key=lambda lane: (lane.model == model, lane.slots, lane.queue), default=None)

    def _follow(self) -> None:
        """Compute lanes and models from the entries, unless the last result is still valid."""
        now = self._clock()
        if now < self._holds_until:
            return
        self._by_queue, self._by_model, self._lanes = {}, {}, {}
        first = math.inf
        for heard, entry in self._entries.values():
            if heard < now - self._timeout or entry.status != "available" or not entry.carried:
                continue
            first = min(first, heard)
            self._by_queue.setdefault(entry.queue, []).append(entry)
            if entry.model:
                self._by_model.setdefault(_full(entry.model), []).append(entry)
        # The oldest announcement times out first.
        self._holds_until = math.nextafter(first + self._timeout, math.inf)

    def _drop_old(self) -> None:
        oldest = self._clock() - self._timeout
        self._entries = {key: value for key, value in self._entries.items() if value.when >= oldest}
        self._holds_until = -math.inf


def _lane(queue: str, entries: list[RegistryEntry], same_model: Iterable[RegistryEntry] = ()) -> ServedLane:
    first = entries[0]
    own = (
        OwnLane(entry.node, entry.queue, _slots([entry]))
        for entry in same_model
        if entry.style == NODE and (entry.model, entry.request_type) == (first.model, first.request_type)
    )
    return ServedLane(
        queue,
        first.model or "",
        tuple(sorted(entry.node for entry in entries)),
        _slots(entries),
        tuple(own) if first.style == "model" else (),
    )


def _slots(entries: Iterable[RegistryEntry]) -> int:
    return min(sum(max(1, entry.concurrency or 1) for entry in entries), MOST_SLOTS)


def _full(model: str) -> str:
    try:
        return ModelName.parse(model).key
    except InvalidNameError:
        return model


def short_name(model: str) -> str:
    """Return the short form of a model name; any other text stays as it is."""
    try:
        return ModelName.parse(model).short
    except InvalidNameError:
        return model
