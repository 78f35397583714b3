# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Features that older servers lack. A request for one is an error, because the server would silently ignore it.

The version of a feature is the first tag of ollama/ollama that has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional

from .api_errors import UnsupportedByServerError

#: The oldest supported server, which introduced the JSON form of create.
OLDEST = "0.5.5"

#: Fields of request bodies that a server of :data:`OLDEST` does not know, and would ignore.
FIELDS = {
    "think": "0.9.0",
    "dimensions": "0.11.11",
    "shift": "0.12.6",
    "logprobs": "0.12.11",
    "top_logprobs": "0.12.11",
}


#: Fields that all servers know, but not in these kinds of requests.
_FIELDS_OF_KIND = {
    "chat": {**FIELDS, "truncate": "0.12.6"},
    "generate": {**FIELDS, "truncate": "0.12.6"},
}


def needed_by(kind: str, body: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a request that some servers do not know, with the first version of each.

    :param kind: ``chat``, ``generate`` or ``embed``.
    """
    fields = _FIELDS_OF_KIND.get(kind, FIELDS)
    return {name: fields[name] for name in fields if body.get(name) is not None}


def lacking(version: str, needs: Mapping[str, str]) -> Optional[str]:
    """Return the first field that a server of this version lacks."""
    return next((name for name, first in needs.items() if not at_least(version, first)), None)


def at_least(version: str, first: str) -> bool:
    """Return whether a version is at least as new as another; release candidates count as their release.

    An unknown version, such as the ``0.0.0`` of a build from source, counts as the newest.
    """
    numbers = _numbers(version)
    return numbers is None or not any(numbers) or numbers >= (_numbers(first) or (0, 0, 0))


def unsupported(what: str, needs: str, version: str) -> UnsupportedByServerError:
    """Return the error for a feature that the server lacks."""
    return UnsupportedByServerError(
        f"The server (Ollama {version}) does not know {what}",
        remedy=f"Upgrade the server to {needs} or newer, or omit {what}",
        needs=needs,
        version=version,
    )


def _numbers(version: str) -> Optional[tuple[int, ...]]:
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return tuple(int(number) for number in match.groups()) if match else None
