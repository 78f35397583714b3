# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Numbers that somebody else wrote, made safe to calculate with.

JSON and AMQP both carry more than a float can hold (NaN, infinity, an integer of 400 digits), and to Python a truth
value is a number too. Every such value is read here.
"""

from __future__ import annotations

import math
from typing import Optional

#: Digits of a whole number that is written as text. Far more than milliseconds since 1970 need.
MAX_DIGITS = 15


def finite(value: object) -> Optional[float]:
    """Return a finite number as a float; None for any other value, texts and truth values too."""
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
    """Return the number that a text of ASCII digits is; None for any other text and for more than 15 digits."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_DIGITS or not (text.isascii() and text.isdecimal()):
        return None
    return int(text)
