# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway knows of the fleet: the lanes that live nodes announce on the registry."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Callable, NamedTuple, Optional

from .._fleet.lanes import NODE
from .._fleet.messages import Message
from .._fleet.observing import RegistryEntry, read
from .._ollama.carried_paths import CARRIED_PATHS, OLLAMA
from .._ollama.errors import InvalidNameError
from .._ollama.names import ModelName

#: Entries that are kept, so that odd events cannot fill the memory.
MAX_ENTRIES = 20_000

#: Seconds for which a model is missed that a node has had: it was restarted, or its Ollama was.
RECENT = 600.0

#: Slots of a lane that are believed.
MOST_SLOTS = 1_000_000

#: Styles of lanes that any node of the fleet may serve; the others belong to one node.
_STYLES = ("model", "shared")


class Heard(NamedTuple):
    """The latest that a node has said of a lane.

    :ivar seconds_ago: since the gateway heard it.
    """

    seconds_ago: float
    entry: RegistryEntry


@dataclass(frozen=True)
class OwnLane:
    """The lane of one node alone, which gives to a lane of all nodes what the node does not take in time.

    :ivar slots: requests that the node runs at a time.
    """

    node: str
    queue: str
    slots: int


@dataclass(frozen=True)
class ServedLane:
    """A lane that live nodes serve.

    :ivar nodes: their names.
    :ivar slots: requests that these nodes run at a time.
    :ivar own: the lanes beside it of those nodes that have one.
    """

    queue: str
    model: str
    nodes: tuple[str, ...]
    slots: int
    own: tuple[OwnLane, ...] = ()


@dataclass(frozen=True)
class ServedModel:
    """A model that live nodes serve.

    :ivar calls: ``chat``, ``generate`` and ``embed``, those that it has lanes for.
    :ivar since: when the gateway heard of it first, seconds since 1970.
    """

    name: str
    calls: tuple[str, ...]
    nodes: tuple[str, ...]
    since: float


class FleetView:
    """Keeps the latest that each node has said of each of its lanes.

    What follows from that is worked out when something has changed, and not for each request.

    :param timeout: seconds after which a node counts as gone that says nothing.
    """

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout
        self._clock = clock
        self._entries: dict[tuple[str, str], tuple[float, RegistryEntry]] = {}
        self._since: dict[str, float] = {}
        #: What follows, and until when it does.
        self._by_queue: dict[str, list[RegistryEntry]] = {}
        self._by_model: dict[str, list[RegistryEntry]] = {}
        self._lanes: dict[tuple[str, str], ServedLane] = {}
        self._holds_until = -math.inf

    def add(self, message: Message) -> bool:
        """Take a registry event; return whether it changed what is known."""
        entry = read(message)
        if entry is None:
            return False
        key = (entry.node, entry.queue)
        heard, known = self._entries.get(key, (-math.inf, None))
        if known is not None and entry.at < known.at:
            return False
        if known is None and len(self._entries) >= MAX_ENTRIES:
            self._drop_old()
            if len(self._entries) >= MAX_ENTRIES:
                return False
        now = self._clock()
        self._entries[key] = (now, entry)
        if heard < now - self._timeout or known is None or replace(known, at=entry.at, event=entry.event) != entry:
            self._holds_until = -math.inf
        return known is None or known.status != entry.status

    def lane_of(self, path: str, model: str) -> Optional[ServedLane]:
        """Return the lane that takes a request; None when no live node serves it.

        :param path: one of ``CARRIED_PATHS``.
        :param model: as the client spells it.
        """
        self._follow()
        lane = self._lanes.get((path, model))
        if lane is None:
            lane = self._look_for(path, model)
            if lane is not None and len(self._lanes) < MAX_ENTRIES:
                self._lanes[path, model] = lane
        return lane

    def had(self, model: str) -> bool:
        """Whether any node has said in the last minutes that it has a model, although none may serve it now."""
        oldest, wanted = self._clock() - max(RECENT, self._timeout), _full(model)
        return any(
            heard >= oldest and entry.style in _STYLES and _full(entry.model or "") == wanted
            for heard, entry in self._entries.values()
        )

    def models(self) -> list[ServedModel]:
        """Return the models that are served, by name."""
        self._follow()
        found: dict[str, list[RegistryEntry]] = {}
        for entries in self._by_model.values():
            for entry in entries:
                if entry.style in _STYLES:
                    found.setdefault(short_name(entry.model or ""), []).append(entry)
        return [
            ServedModel(
                name,
                tuple(sorted({entry.request_type or "" for entry in entries})),
                tuple(sorted({entry.node for entry in entries})),
                self._since.setdefault(name, time.time()),
            )
            for name, entries in sorted(found.items())
        ]

    def lanes(self) -> list[ServedLane]:
        """Return the lanes that are served, by name, without those beside them."""
        self._follow()
        return [
            _lane(queue, entries, self._by_model.get(_full(entries[0].model or ""), ()))
            for queue, entries in sorted(self._by_queue.items())
            if entries[0].style != NODE
        ]

    def slots_of(self, queue: str) -> int:
        """Return how many requests the nodes of a lane run at a time."""
        self._follow()
        entries = self._by_queue.get(queue)
        return 0 if entries is None else _slots(entries)

    def heard(self) -> list[Heard]:
        """Return the latest that each node has said of each of its lanes, whatever it was."""
        now = self._clock()
        return [Heard(max(0.0, now - heard), entry) for heard, entry in self._entries.values()]

    def nodes_of(self, queue: str) -> tuple[str, ...]:
        """Return the nodes that have ever served a lane, as far as is known: a request may be at any of them."""
        return tuple(sorted({node for node, name in self._entries if name == queue}))

    def _look_for(self, path: str, model: str) -> Optional[ServedLane]:
        known = CARRIED_PATHS[path]
        found: dict[str, list[RegistryEntry]] = {}
        same_model = self._by_model.get(_full(model), [])
        for entry in same_model:
            fits = entry.request_type == known.call or (
                entry.style != "model" and known.call != "embed" and entry.request_type != "embed"
            )
            # Only Ollama's own interface can say how large the context window is that such a lane has.
            sayable = entry.context_window is None or known.interface == OLLAMA
            if fits and sayable and entry.style in _STYLES:
                found.setdefault(entry.queue, []).append(entry)
        lanes = [_lane(queue, entries, same_model) for queue, entries in found.items()]
        return max(lanes, key=lambda lane: (lane.model == model, lane.slots, lane.queue), default=None)

    def _follow(self) -> None:
        """Work out what follows from the entries, unless that still holds."""
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
        # The one that spoke first may go first.
        self._holds_until = math.nextafter(first + self._timeout, math.inf)

    def _drop_old(self) -> None:
        oldest = self._clock() - self._timeout
        self._entries = {key: value for key, value in self._entries.items() if value[0] >= oldest}
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
        return ModelName.parse(model).full.lower()
    except InvalidNameError:
        return model


def short_name(model: str) -> str:
    """Return the short form of a model name; any other text stays as it is."""
    try:
        return ModelName.parse(model).short
    except InvalidNameError:
        return model
