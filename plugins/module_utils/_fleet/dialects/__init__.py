# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The dialects, and the choice of the dialect of a message."""

from __future__ import annotations

from collections.abc import Iterable

from ..messages import Properties
from . import carried, plain, typed, versioned
from .base import Dialect, Document, Headers
from .protocol import version2, version3

#: The dialects of requests that state a version of the protocol, in the order in which they are tried. Such requests
#: have the marks of the typed dialect too. The last dialect refuses the requests that no other recognises.
NUMBERED: tuple[Dialect, ...] = (
    carried.DIALECT,  # first: its body is a client's, and may look like anything
    version2.DIALECT,
    version3.DIALECT,
    versioned.DIALECT,
)

#: The dialects of all other requests. The last dialect takes the requests that no other recognises.
UNNUMBERED: tuple[Dialect, ...] = (
    carried.DIALECT,
    typed.DIALECT,
    plain.DIALECT,
)


def dialect_of(
    properties: Properties, headers: Headers, document: Document, numbered: tuple[Dialect, ...] = NUMBERED
) -> Dialect:
    """Return the dialect of a request.

    :param numbered: the dialects of requests that state a version, from :func:`served`.
    """
    candidates = UNNUMBERED if document.get("protocol_version") is None else numbered
    return next(dialect for dialect in candidates if dialect.recognises(properties, headers, document))


def served(versions: Iterable[int]) -> tuple[Dialect, ...]:
    """Return the dialects for requests that state a version, when a worker serves only some versions.

    :param versions: the served versions. :mod:`versioned` refuses requests of other versions.
    """
    names = {f"version {number}" for number in versions}
    return tuple(dialect for dialect in NUMBERED if not dialect.numbered or dialect.name in names)


def dialect_named(name: str) -> Dialect:
    """Return the dialect with a name.

    :raises KeyError: if no dialect has the name.
    """
    return {dialect.name: dialect for dialect in (*NUMBERED, *UNNUMBERED)}[name]
