# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""How many values a JSON text has, before it is parsed.

``[{},{},...]`` of 15 MB has five million objects, and each of them takes 64 bytes and more once it is parsed: 400 MB
for one request.
"""

from __future__ import annotations

import re

#: Values that a request may have. Long conversations have some thousands; a hundred thousand take about 20 MB.
MAX_VALUES = 100_000

#: A text, or what stands between two values. A text without its closing quote is malformed, and matches to the end.
_TOKEN = re.compile(r'"[^"]*"?|[,\[{]')


def has_more_values(text: str, most: int) -> bool:
    """Whether a JSON text has more values than allowed, texts and keys counted. It costs nothing for short texts."""
    if len(text) <= most:
        return False
    # More than there are, since texts have commas and brackets in them, too. Three fast looks, and mostly the end.
    if text.count(",") + text.count("[") + text.count("{") + text.count('"') // 2 <= most:
        return False
    # In this order: of two backslashes in a row the second one does not belong to the quotation mark behind it.
    plain = text.replace("\\\\", "").replace('\\"', "")
    return any(number > most for number, _token in enumerate(_TOKEN.finditer(plain), 1))
