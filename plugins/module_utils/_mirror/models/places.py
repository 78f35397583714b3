# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The names under which models of a mirror are written to a store.

Ollama ignores the case of names, and a mirror does not. If a store had two manifests whose names differ only in case,
Ollama could serve either of them. Two models whose names share one part in different case are a problem, too: Ollama
looks up each part as any model of the store spells it, so it may not find either of the two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from ..._ollama.errors import InvalidNameError
from ..._ollama.names import ModelName, as_present, clashes, spellings
from .plan import ADD, REPLACE, ModelChange


def places_of(names: Iterable[ModelName], present: Collection[ModelName]) -> dict[ModelName, ModelName]:
    """Return the requested name of each model by its name in the store, which may be another spelling.

    The names of one import agree with each other as well as with the store.

    :param present: the models of the store.
    :raises InvalidNameError: if two of the requested names differ only in case.
    """
    places: dict[ModelName, ModelName] = {}
    for name in names:
        place = as_present(name, [*present, *places])
        for other in spellings(place, places):
            raise InvalidNameError(
                f"{name} and {places[other]} are the same model for Ollama",
                remedy="Name only one of them; Ollama ignores the case of names",
                name=name.full,
            )
        places[place] = name
    return places


def warnings_of(
    models: Iterable[ModelChange], places: Mapping[ModelName, ModelName], present: Collection[ModelName]
) -> Iterator[str]:
    """Yield a warning for each model whose name, or a part of it, differs only in case from another name.

    :param places: the result of :func:`places_of`.
    :param present: the models of the store.
    """
    changed = {model.name for model in models if model.action in (ADD, REPLACE)}
    for place, name in places.items():
        if place != name and place in changed:
            yield (
                f"{name} is imported as {place}: Ollama ignores the case of names, and expects each part in the"
                " spelling of the other models"
            )
        for other in spellings(place, present):
            if other != place:
                yield (
                    f"The store has {place} and {other}, which are the same model for Ollama: it serves one or the"
                    " other. Remove the model (state=absent removes all spellings) and import it again"
                )
        others = clashes(place, present)
        if others:
            yield (
                f"{place} spells a part of its name in another case than {', '.join(map(str, others))}: Ollama may find"
                " only one of these models. Remove one of them (state=absent) and import it again"
            )
