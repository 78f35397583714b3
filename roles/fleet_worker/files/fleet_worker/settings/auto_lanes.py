# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Automatic lanes, made from the models that Ollama has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from .._ollama.names import DEFAULT_TAG, ModelName
from .._ollama.patterns import matches_any
from .config import AutoLanesConfig, LaneConfig
from .sections import MAX_NAME

#: The capability (in Ollama's words) that a model needs for a lane of each type.
NEEDS = {"chat": "completion", "generate": "completion", "embed": "embedding"}


def lanes_of(models: Iterable[tuple[str, Collection[str]]], settings: AutoLanesConfig) -> list[LaneConfig]:
    """Return the lanes for models.

    The styles shared and offering have one lane for chat and generate, with the type chat here. A model gets no lane if
    its name is too long for the configuration.

    :param models: the models in Ollama's spelling, with their capabilities.
    """
    found: list[LaneConfig] = []
    for model, abilities in models:
        if not _allowed(model, settings):
            continue
        for style in settings.styles:
            types = [kind for kind in settings.types if NEEDS[kind] in abilities]
            if style != "model" and "chat" in types and "generate" in types:
                types.remove("generate")
            found += [
                LaneConfig(
                    type=kind,
                    model=spelling,
                    style=style,
                    context_window=None if style == "model" or kind == "embed" else settings.context_window,
                    deadline=settings.deadline,
                    priority=settings.priority,
                    consumer_priority=settings.consumer_priority,
                    keep_alive=settings.keep_alive,
                    option_ranges=settings.option_ranges,
                    suffixes=settings.suffixes if style == "shared" else [],
                )
                for kind in types
                for spelling in _spellings(model)
                if len(spelling) <= MAX_NAME
            ]
    return found


def _spellings(model: str) -> Iterator[str]:
    """Yield all spellings of a model that requesters may use: they may omit the default tag."""
    short = ModelName.parse(model).short
    yield short
    if short.endswith(":" + DEFAULT_TAG):
        yield short[: -len(DEFAULT_TAG) - 1]


def _allowed(model: str, settings: AutoLanesConfig) -> bool:
    name = ModelName.parse(model)
    if not matches_any(name, settings.allow, ignore_case=True):
        return False
    return not matches_any(name, settings.deny, ignore_case=True)
