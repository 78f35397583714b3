# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data of the page, as plain JSON: the part of the fleet's current state that the viewer may see."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional

from .._fleet.lanes import NODE
from .._fleet.observing import RegistryEntry
from ..domain.fleet_view import Announcement, short_name
from ..domain.traffic import INTERVAL, Passage, Traffic
from ..settings.keys import KeyConfig

#: Seconds without an announcement after which the page forgets a node. Until then the page shows a dead node.
FORGET = 900.0

#: The most shown requests: running ones, and finished ones.
MOST_UNDER_WAY = 100
MOST_ENDED = 20

Snapshot = Callable[[], Mapping[str, Any]]
Depths = Callable[[Iterable[str]], Mapping[str, int]]


class PageState:
    """Puts the data of the page together.

    :param snapshot: returns the state of the gateway, as ``/status`` does.
    :param announcements: returns the latest announcement of each node for each of its lanes.
    :param depths: returns the known numbers of requests that wait at the broker, by queue.
    :param timeout: seconds without an announcement after which a node counts as gone.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        announcements: Callable[[], list[Announcement]],
        traffic: Traffic,
        depths: Depths,
        *,
        timeout: float,
    ) -> None:
        self._snapshot = snapshot
        self._announcements = announcements
        self._traffic = traffic
        self._depths = depths
        self._timeout = timeout

    def document(self, key: Optional[KeyConfig]) -> dict[str, Any]:
        """Return the data for one viewer.

        :param key: the viewer's key; a viewer without a key sees all models and no requests.
        """
        state = self._snapshot()
        announced = [
            one
            for one in self._announcements()
            if one.seconds_ago <= FORGET and (key is None or key.operator or key.allows(one.entry.model or ""))
        ]
        lanes = self._lanes(announced, state)
        served = {short_name(one.entry.model or "") for one in announced}
        return {
            "gateway": {
                "name": state["node"],
                "version": state["version"],
                "ready": state["ready"],
                "reason": state["reason"],
                "asks_for_keys": state["keys"] is not None,
                "up_seconds": round(max(0.0, time.time() - state["since"])),
            },
            "viewer": {"key": key.name if key else "", "operator": bool(key and key.operator)},
            "nodes": self._nodes(announced),
            "models": self._models(announced),
            "lanes": lanes,
            "under_way": [self._under_way(one) for one in self._passages(key, self._traffic.under_way())][
                :MOST_UNDER_WAY
            ],
            "ended": [self._ended(one) for one in self._passages(key, self._traffic.ended())][:MOST_ENDED],
            "rates": self._rates(served),
        }

    @staticmethod
    def _passages(key: Optional[KeyConfig], passages: list[Passage]) -> list[Passage]:
        """Return the requests that a viewer may see."""
        if key is None:
            return []
        return [one for one in passages if one.key and (key.operator or one.key == key.name)]

    def _state(self, one: Announcement) -> str:
        if one.seconds_ago > self._timeout:
            return "silent"
        if one.entry.status != "available":
            return one.entry.status or "unknown"
        return "available" if one.entry.carried else "foreign"

    def _nodes(self, announced: list[Announcement]) -> list[dict[str, Any]]:
        found: dict[str, list[Announcement]] = {}
        for one in announced:
            found.setdefault(one.entry.node, []).append(one)
        return [
            {
                "name": name,
                "states": sorted({self._state(one) for one in lanes}),
                "heard_seconds_ago": round(min(one.seconds_ago for one in lanes)),
                "slots": max(_slots(one.entry) for one in lanes),
                "models": sorted({short_name(one.entry.model) for one in lanes if one.entry.model}),
                "trouble": next((one.entry.error for one in lanes if one.entry.error), ""),
            }
            for name, lanes in sorted(found.items())
        ]

    def _models(self, announced: list[Announcement]) -> list[dict[str, Any]]:
        found: dict[str, list[RegistryEntry]] = {}
        for one in announced:
            if one.entry.model and self._state(one) == "available" and one.entry.style in ("model", "shared"):
                found.setdefault(short_name(one.entry.model), []).append(one.entry)
        return [
            {
                "name": name,
                "calls": sorted({entry.request_type or "" for entry in entries}),
                "nodes": sorted({entry.node for entry in entries}),
            }
            for name, entries in sorted(found.items())
        ]

    def _lanes(self, announced: list[Announcement], state: Mapping[str, Any]) -> list[dict[str, Any]]:
        counted = {lane["queue"]: lane for lane in state["lanes"]}
        found: dict[str, list[Announcement]] = {}
        for one in announced:
            # The requests of a node's own lane count as requests of the lane of all nodes.
            if one.entry.style != NODE:
                found.setdefault(one.entry.queue, []).append(one)
        at_broker = self._depths(found)
        return [
            {
                "queue": queue,
                "model": short_name(entries[0].entry.model or ""),
                "call": entries[0].entry.request_type or "",
                "nodes": sorted({one.entry.node for one in entries if self._state(one) == "available"}),
                "slots": counted.get(queue, {}).get("slots", 0),
                "running": counted.get(queue, {}).get("running", 0),
                "waiting": counted.get(queue, {}).get("waiting", 0),
                "at_broker": at_broker.get(queue),
            }
            for queue, entries in sorted(found.items())
        ]

    def _under_way(self, one: Passage) -> dict[str, Any]:
        seconds = max(0.0, self._traffic.now - one.began)
        return {**_passage(one), "stage": one.stage, "seconds": round(seconds, 1)}

    @staticmethod
    def _ended(one: Passage) -> dict[str, Any]:
        return {
            **_passage(one),
            "status": one.status,
            "seconds": round(one.seconds, 2),
            "input_tokens": one.input_tokens,
            "output_tokens": one.output_tokens,
        }

    def _rates(self, models: set[str]) -> dict[str, Any]:
        intervals = self._traffic.rates(models)
        return {
            "interval_seconds": INTERVAL,
            "requests": [one.requests for one in intervals],
            "failures": [one.failures for one in intervals],
            "input_tokens": [one.input_tokens for one in intervals],
            "output_tokens": [one.output_tokens for one in intervals],
        }


def _passage(one: Passage) -> dict[str, Any]:
    return {"key": one.key, "model": one.model, "path": one.path, "node": one.node}


def _slots(entry: RegistryEntry) -> int:
    return max(1, entry.concurrency or 1)
