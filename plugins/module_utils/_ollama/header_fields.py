# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Headers of HTTP requests: which names and values can be sent (RFC 9110, section 5)."""

from __future__ import annotations

import re

from .api_errors import InvalidServerError
from .text import printable

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: Visible characters of Latin-1, with spaces and tabs between them. An empty value is one, too.
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")

#: What says where the body of a request ends. The client writes these headers itself.
_FRAMING = ("content-length", "transfer-encoding")


def check_header(name: str, value: str) -> None:
    """Check that a header can be sent.

    :raises InvalidServerError: when it cannot. The message names the header and never shows its value, which may be a
        secret.
    """
    if not _NAME.fullmatch(name):
        raise InvalidServerError(
            f"A request with the header {printable(name)!r} cannot be made: that is not the name of a header",
            remedy="Write letters, digits and hyphens, without a colon or a space",
        )
    if name.lower() in _FRAMING:
        raise InvalidServerError(
            f"A request with the header {name} cannot be made: it says how long the request is",
            remedy="Leave the header out; it is written for each request",
        )
    if not _VALUE.fullmatch(value):
        raise InvalidServerError(
            f"A request with the header {name} cannot be made: no header can have all the characters of its value",
            remedy="Leave out line breaks, control characters, spaces at its ends, and what is not in Latin-1",
        )
