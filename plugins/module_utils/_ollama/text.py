# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Safe display of texts from outside, in log lines, states and error messages."""

from __future__ import annotations

SHOWN = 200
"""Characters of a text from outside to show: enough to recognise it, too few to flood a log."""


def printable(value: object, limit: int = SHOWN) -> str:
    """Return a value from outside as one line of printable text.

    Line feeds, terminal escapes, bidirectional marks and half surrogates become backslash escapes, so that the text
    cannot forge a line, colour a terminal, reorder the text around it, or fail to be encoded.

    :param value: a text; bytes are decoded as UTF-8, and other values converted by ``str``.
    :param limit: characters to keep. A longer value ends with the number of omitted characters.
    """
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, (bytes, bytearray)) else str(value)
    kept = text[:limit]
    if not kept.isprintable():
        kept = "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
            for character in kept
        )
    return kept if len(text) <= limit else f"{kept}... ({len(text) - limit} more characters)"


def without_credentials(address: str) -> str:
    """Return an address or URL for messages, with ``***`` instead of its login.

    The login is the text between the scheme and the last ``@``, in an invalid address, too.
    """
    scheme, separator, rest = address.rpartition("://")
    return address if "@" not in rest else f"{scheme}{separator}***@{rest.rpartition('@')[2]}"
