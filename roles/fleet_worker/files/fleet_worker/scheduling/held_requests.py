# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that were taken from lanes and have not started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Callable

from .lanes import LaneEntry


@dataclass(frozen=True)
class HeldRequest:
    """A request without a slot.

    :ivar since: the time when the worker took the request.
    :ivar alone_until: the time until which the request starts only while no other request of its model runs; 0 if the
        request need not run alone.
    :ivar shares: whether the request may start in a batch.
    :ivar unwanted: whether the request goes back unless its lane opens, because a get has brought it that only had to
        keep the queue from expiring.
    """

    lane: LaneEntry
    item: Any
    since: float
    alone_until: float = 0.0
    shares: bool = True
    unwanted: bool = False


class HeldRequests:
    """The held requests, the oldest first."""

    def __init__(self) -> None:
        self._held: list[HeldRequest] = []

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[HeldRequest]:
        return iter(self._held)

    def add(self, held: HeldRequest) -> None:
        """Add a request."""
        self._held.append(held)

    def batch_of(self, lane: LaneEntry) -> list[HeldRequest]:
        """Return the held requests of a lane that may start together, the oldest first."""
        return [held for held in self._held if held.lane is lane and held.shares]

    def remove(self, requests: Iterable[HeldRequest]) -> None:
        """Remove requests."""
        for held in requests:
            self._held.remove(held)

    def keep(self, wanted: Callable[[HeldRequest], bool]) -> list[HeldRequest]:
        """Remove and return the requests that are not wanted."""
        gone = [held for held in self._held if not wanted(held)]
        if gone:
            self._held = [held for held in self._held if held not in gone]
        return gone

    def end_waits_to_be_alone(self, now: float) -> None:
        """End the waits to run alone that have reached their limit."""
        self._held = [replace(held, alone_until=0.0) if 0 < held.alone_until <= now else held for held in self._held]

    def models_to_be_alone(self) -> set[str]:
        """Return the models with a held request that waits to run alone."""
        return {held.lane.rule.model for held in self._held if held.alone_until}
