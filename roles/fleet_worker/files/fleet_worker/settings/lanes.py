# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lanes of a configuration, each with its settings."""

from __future__ import annotations

from collections.abc import Iterable

from .._fleet.lanes import NODE, Lane
from .._ollama.names import ModelName
from ..domain.delivery import LaneSettings
from .config import Config, LaneConfig

#: The priority of the lanes that only this node serves: their requests wait there only for a moment.
OWN_PRIORITY = 1

#: The default priority of embeddings, which are short, and which other programs wait for.
EMBED_PRIORITY = 10


def configured_lanes(config: Config, found: Iterable[LaneConfig] = ()) -> list[LaneSettings]:
    """Return the lanes with their settings.

    :param found: automatic lanes.
    """
    limits = {ModelName.parse(name).key: limit for name, limit in config.model_concurrency.items()}
    return [
        LaneSettings(
            lane,
            deadline=lane.deadline if settings.deadline is None else settings.deadline,
            priority=_priority(lane, settings),
            consumer_priority=settings.consumer_priority,
            batch=config.embed_batch.count if lane.type == "embed" else 1,
            limit=limits.get(ModelName.parse(lane.model).key),
            terms=settings.terms,
        )
        for lane, settings in config.lane_table(found)
    ]


def _priority(lane: Lane, settings: LaneConfig) -> int:
    usual = EMBED_PRIORITY if lane.type == "embed" else 0
    return (usual if settings.priority is None else settings.priority) + (OWN_PRIORITY if lane.style == NODE else 0)
