# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from decimal import Decimal
from typing import Any, Optional

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.numbers import digits, finite, whole

NONE = [None, True, "7", [], {}, float("nan"), float("inf"), float("-inf"), 10**400, -(10**400), Decimal(7), b"7"]


@pytest.mark.parametrize(
    "value, number", [(7, 7.0), (-1.5, -1.5), (0, 0.0), (2**64, 2.0**64), *((no, None) for no in NONE)]
)
def test_finite_takes_numbers_alone(value: Any, number: Optional[float]) -> None:
    assert finite(value) == number


@pytest.mark.parametrize("value, number", [(7, 7), (7.0, 7), (-2, -2), (7.5, None), *((no, None) for no in NONE)])
def test_whole_takes_whole_numbers_alone(value: Any, number: Optional[int]) -> None:
    assert whole(value) == number


@pytest.mark.parametrize(
    "text, number",
    [
        ("0", 0),
        ("30000", 30000),
        ("9" * 15, 10**15 - 1),
        ("9" * 16, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        (" 7", None),
        ("\u00b2", None),
        ("\u0663", None),
        (7, None),
        (None, None),
    ],
)
def test_digits_takes_ascii_digits_alone(text: Any, number: Optional[int]) -> None:
    assert digits(text) == number
