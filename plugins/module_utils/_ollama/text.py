# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Text from outside, made safe to show to a person: in a log line, a status, an error message."""

from __future__ import annotations

SHOWN = 200
"""Characters of a text from outside to show: enough to recognise it, too few to flood a log."""


def printable(value: object, limit: int = SHOWN) -> str:
    """Return a value from outside as one line of printable text.

    Line feeds, terminal escapes, bidirectional marks and half surrogates come out as backslash escapes, so that the
    text cannot forge a line, colour a terminal, reorder what stands around it, or fail to be encoded.

    :param value: a text; bytes are read as UTF-8; anything else is shown as ``str`` shows it.
    :param limit: characters of the value that are kept. A longer value ends with how many more it has.
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
    """Return an address or URL without its login, everything before the last ``@`` of the host, for messages.

    A text that cannot be read as an address loses everything up to the last ``@``.
    """
    scheme, separator, rest = address.rpartition("://")
    return address if "@" not in rest else f"{scheme}{separator}***@{rest.rpartition('@')[2]}"
