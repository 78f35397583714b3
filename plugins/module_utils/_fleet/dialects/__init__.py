# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The dialects, and which of them a message is in."""

from __future__ import annotations

from ..messages import Properties
from . import plain, typed, versioned
from .base import Dialect, Document, Headers

#: In the order in which they are tried. The last one takes what no other recognises.
DIALECTS: tuple[Dialect, ...] = (
    versioned.DIALECT,  # first: its requests have the marks of the typed dialect too
    typed.DIALECT,
    plain.DIALECT,
)


def dialect_of(properties: Properties, headers: Headers, document: Document) -> Dialect:
    """Return the dialect of a request."""
    return next(dialect for dialect in DIALECTS if dialect.recognises(properties, headers, document))


def dialect_named(name: str) -> Dialect:
    """Return the dialect of that name.

    :raises KeyError: when there is none.
    """
    return {dialect.name: dialect for dialect in DIALECTS}[name]
