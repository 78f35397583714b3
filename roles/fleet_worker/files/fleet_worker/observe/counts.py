# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts of the worker since its start."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..domain.publication import Publication


class CountedEvent(enum.Enum):
    """A counted event. The value is the name of the event in the status document and in metrics."""

    CONNECTIONS = "connections"
    DELIVERIES = "deliveries"
    REDELIVERIES = "redeliveries"
    ANSWERED_AGAIN = "answered_again"
    JOINED = "joined"
    CANCELLED = "cancelled"
    BATCHED = "batched"
    DELTAS = "deltas"
    MODEL_SWITCHES = "model_switches"
    BUSY = "busy"
    TRIED_ALONE = "tried_alone"
    PROBES = "probes"
    MODEL_PAUSES = "model_pauses"


@dataclass
class Counts:
    """The number of each event; an event that never happened is missing.

    :ivar outcomes: finished requests by outcome.
    :ivar replies: published replies by the broker's verdict.
    :ivar registry_events: events sent to the registry, by their name; also ``refused`` and ``skipped``.
    """

    events: Counter[CountedEvent] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    replies: Counter[Publication] = field(default_factory=Counter)
    registry_events: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, int]:
        """Return all counts in one table, for the status document."""
        return dict(sorted(self._named()))

    def _named(self) -> Iterator[tuple[str, int]]:
        for event, count in self.events.items():
            yield event.value, count
        for outcome, count in self.outcomes.items():
            yield f"outcome:{outcome}", count
        for publication, count in self.replies.items():
            yield f"reply:{publication.value}", count
        for name, count in self.registry_events.items():
            yield f"registry_events:{name}", count
