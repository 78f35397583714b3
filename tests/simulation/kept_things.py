# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker keeps in its memory: every collection that can be reached from it, and how large each is.

Nobody has to list the collections, so a new one is found, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

#: Where the classes of a worker come from: only their objects are looked into.
_OURS = "fleet_worker"

_COLLECTIONS = (dict, list, set, deque)

#: Elements of a collection that are looked into. The others are of the same kind.
_LOOKED_INTO = 20


def sizes(root: Any) -> dict[str, int]:
    """Return the size of each collection that objects of a worker hold, by its place: the largest of each place.

    :param root: an object of a worker.
    """
    found: dict[str, int] = {}
    seen = {id(root)}
    waiting: deque[Any] = deque([root])
    while waiting:
        owner = waiting.popleft()
        for name, value in _attributes(owner):
            place = f"{type(owner).__name__}.{name}"
            for one in _flat(value, place, found):
                if id(one) not in seen and type(one).__module__.split(".")[0] == _OURS:
                    seen.add(id(one))
                    waiting.append(one)
    return found


def _attributes(owner: Any) -> Iterator[tuple[str, Any]]:
    yield from getattr(owner, "__dict__", {}).items()
    for kind in type(owner).__mro__:
        slots = getattr(kind, "__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name != "__dict__" and hasattr(owner, name):
                yield name, getattr(owner, name)


def _flat(value: Any, place: str, found: dict[str, int]) -> Iterator[Any]:
    """Note the size of a collection, and return its elements, or the value that is none."""
    if isinstance(value, _COLLECTIONS):
        found[place] = max(found.get(place, 0), len(value))
    if isinstance(value, dict):
        for key in list(value)[:_LOOKED_INTO]:
            yield from _flat(key, place, found)
            yield from _flat(value[key], f"{place}[]", found)
    elif isinstance(value, (list, set, deque, tuple)):
        for one in list(value)[:_LOOKED_INTO]:
            yield from _flat(one, f"{place}[]", found)
    elif getattr(value, "__self__", None) is not None:
        yield value.__self__  # the owner of a bound method
    else:
        yield value
