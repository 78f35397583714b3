# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The dialects, and which of them a message is in."""

from __future__ import annotations

from collections.abc import Iterable

from ..messages import Properties
from . import carried, plain, typed, versioned
from .base import Dialect, Document, Headers
from .protocol import version2, version3

#: Of requests that state a version of the protocol, in the order in which they are tried. They have the marks of the
#: typed dialect too. The last one refuses what no other recognises.
NUMBERED: tuple[Dialect, ...] = (
    carried.DIALECT,  # first: its body is a client's, and may look like anything
    version2.DIALECT,
    version3.DIALECT,
    versioned.DIALECT,
)

#: Of all others. The last one takes what no other recognises.
UNNUMBERED: tuple[Dialect, ...] = (
    carried.DIALECT,
    typed.DIALECT,
    plain.DIALECT,
)


def dialect_of(
    properties: Properties, headers: Headers, document: Document, numbered: tuple[Dialect, ...] = NUMBERED
) -> Dialect:
    """Return the dialect of a request.

    :param numbered: those of requests that state a version, as :func:`served` returns them.
    """
    candidates = UNNUMBERED if document.get("protocol_version") is None else numbered
    return next(dialect for dialect in candidates if dialect.recognises(properties, headers, document))


def served(versions: Iterable[int]) -> tuple[Dialect, ...]:
    """Return the dialects of requests that state a version, when only some versions are served.

    :param versions: numbers of them; a request of another one is refused in words that its requester reads.
    """
    names = {f"version {number}" for number in versions}
    return tuple(dialect for dialect in NUMBERED if not dialect.numbered or dialect.name in names)


def dialect_named(name: str) -> Dialect:
    """Return the dialect of that name.

    :raises KeyError: if no dialect has the name.
    """
    return {dialect.name: dialect for dialect in (*NUMBERED, *UNNUMBERED)}[name]
