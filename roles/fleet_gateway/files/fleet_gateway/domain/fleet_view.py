# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway knows of the fleet: the lanes that live nodes announce on the registry."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable, Optional

from .._fleet.messages import Message
from .._fleet.observing import RegistryEntry, read
from .._ollama.carried_paths import CARRIED_PATHS, OLLAMA
from .._ollama.errors import InvalidNameError
from .._ollama.names import ModelName

#: Entries that are kept, so that odd events cannot fill the memory.
MAX_ENTRIES = 20_000

#: Styles of lanes that any node of the fleet may serve; the others belong to one node.
_STYLES = ("model", "shared")


@dataclass(frozen=True)
class ServedLane:
    """A lane that live nodes serve.

    :ivar nodes: their names.
    :ivar slots: requests that these nodes run at a time.
    """

    queue: str
    model: str
    nodes: tuple[str, ...]
    slots: int


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

    :param timeout: seconds after which a node counts as gone that says nothing.
    """

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout
        self._clock = clock
        self._entries: dict[tuple[str, str], tuple[float, RegistryEntry]] = {}
        self._since: dict[str, float] = {}

    def add(self, message: Message) -> bool:
        """Take a registry event; return whether it changed what is known."""
        entry = read(message)
        if entry is None:
            return False
        key = (entry.node, entry.queue)
        known = self._entries.get(key)
        if known is not None and entry.at < known[1].at:
            return False
        if known is None and len(self._entries) >= MAX_ENTRIES:
            self._drop_old()
            if len(self._entries) >= MAX_ENTRIES:
                return False
        self._entries[key] = (self._clock(), entry)
        return known is None or known[1].status != entry.status

    def lane_of(self, path: str, model: str) -> Optional[ServedLane]:
        """Return the lane that takes a request; None when no live node serves it.

        :param path: one of ``CARRIED_PATHS``.
        :param model: as the client spells it.
        """
        known = CARRIED_PATHS[path]
        wanted = _full(model)
        found: dict[str, list[RegistryEntry]] = {}
        for entry in self._live():
            fits = entry.request_type == known.call or (
                entry.style != "model" and known.call != "embed" and entry.request_type != "embed"
            )
            # Only Ollama's own interface can say how large the context window is that such a lane has.
            sayable = entry.context_window is None or known.interface == OLLAMA
            if fits and sayable and entry.style in _STYLES and entry.model and _full(entry.model) == wanted:
                found.setdefault(entry.queue, []).append(entry)
        lanes = [_lane(queue, entries) for queue, entries in found.items()]
        return max(lanes, key=lambda lane: (lane.model == model, lane.slots, lane.queue), default=None)

    def models(self) -> list[ServedModel]:
        """Return the models that are served, by name."""
        found: dict[str, list[RegistryEntry]] = {}
        for entry in self._live():
            if entry.model and entry.style in _STYLES:
                found.setdefault(_short(entry.model), []).append(entry)
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
        """Return the lanes that are served, by name."""
        found: dict[str, list[RegistryEntry]] = {}
        for entry in self._live():
            found.setdefault(entry.queue, []).append(entry)
        return [_lane(queue, entries) for queue, entries in sorted(found.items())]

    def nodes_of(self, queue: str) -> tuple[str, ...]:
        """Return the nodes that have ever served a lane, as far as is known: a request may be at any of them."""
        return tuple(sorted({node for node, name in self._entries if name == queue}))

    def _live(self) -> Iterable[RegistryEntry]:
        oldest = self._clock() - self._timeout
        return [
            entry
            for heard, entry in self._entries.values()
            if heard >= oldest and entry.status == "available" and entry.carried
        ]

    def _drop_old(self) -> None:
        oldest = self._clock() - self._timeout
        self._entries = {key: value for key, value in self._entries.items() if value[0] >= oldest}


def _lane(queue: str, entries: list[RegistryEntry]) -> ServedLane:
    slots = sum(max(1, entry.concurrency or 1) for entry in entries)
    return ServedLane(
        queue, entries[0].model or "", tuple(sorted(entry.node for entry in entries)), min(slots, math.floor(1e6))
    )


def _full(model: str) -> str:
    try:
        return ModelName.parse(model).full.lower()
    except InvalidNameError:
        return model


def _short(model: str) -> str:
    try:
        return ModelName.parse(model).short
    except InvalidNameError:
        return model
