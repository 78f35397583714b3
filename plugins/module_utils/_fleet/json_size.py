# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A limit for the number of values in a JSON text, checked before the text is parsed.

``[{},{},...]`` of 15 MB has five million objects, and each parsed object takes at least 64 bytes: 400 MB for one
request.
"""

from __future__ import annotations

import re

#: The most values of a request. Long conversations have some thousands; a hundred thousand take about 20 MB.
MAX_VALUES = 100_000

#: A string, or a comma or opening bracket. A string without its closing quote is malformed, and matches to the end.
_TOKEN = re.compile(r'"[^"]*"?|[,\[{]')


def has_more_values(text: str, most: int) -> bool:
    """Return whether a JSON text has more values than allowed, strings and keys counted. Fast for short texts."""
    if len(text) <= most:
        return False
    # An upper bound, because strings contain commas and brackets too. For most texts, these fast counts are enough.
    if text.count(",") + text.count("[") + text.count("{") + text.count('"') // 2 <= most:
        return False
    # In this order: the second of two backslashes does not escape the quotation mark after it.
    plain = text.replace("\\\\", "").replace('\\"', "")
    return any(number > most for number, _token in enumerate(_TOKEN.finditer(plain), 1))
