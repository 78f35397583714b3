# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The names and values that headers of HTTP requests may have (RFC 9110, section 5)."""

from __future__ import annotations

import re

from .api_errors import InvalidServerError
from .text import printable

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: Visible characters of Latin-1, with spaces and tabs between them. A value may be empty.
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")

#: Headers that determine the end of the body. The client sets them itself.
_FRAMING = ("content-length", "transfer-encoding")


def check_header(name: str, value: str) -> None:
    """Check that a header can be sent.

    :raises InvalidServerError: for an invalid header. The message never shows the value, which may be a secret.
    """
    if not _NAME.fullmatch(name):
        raise InvalidServerError(
            f"The header {printable(name)!r} cannot be sent: {printable(name)!r} is not a valid header name",
            remedy="Use letters, digits and hyphens, without a colon or a space",
        )
    if name.lower() in _FRAMING:
        raise InvalidServerError(
            f"The header {name} cannot be set: the client computes the length of each request",
            remedy=f"Remove {name} from headers",
        )
    if not _VALUE.fullmatch(value):
        raise InvalidServerError(
            f"The header {name} cannot be sent: its value contains characters that no header may have",
            remedy="Remove line breaks, control characters, spaces at both ends, and characters outside Latin-1",
        )
