# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Safe reading of numbers from outside.

JSON and AMQP can contain NaN, infinity and integers of 400 digits, and for Python a truth value is a number. The
functions here return None for all of these.
"""

from __future__ import annotations

import math
from typing import Optional

#: The most digits of a number in a text. Milliseconds since 1970 have 13.
MAX_DIGITS = 15


def finite(value: object) -> Optional[float]:
    """Return a finite number as a float; None for any other value, such as a text or a truth value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def whole(value: object) -> Optional[int]:
    """Return a whole number; None for any other value. Some senders write whole numbers as ``7.0`` in JSON."""
    number = finite(value)
    return int(number) if number is not None and number.is_integer() else None


def digits(text: object) -> Optional[int]:
    """Return the number in a text of at most 15 ASCII digits; None for any other value."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_DIGITS or not (text.isascii() and text.isdecimal()):
        return None
    return int(text)
