# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.schema_patterns import (
    InvalidPatternError,
    repetitions,
)


@pytest.mark.parametrize(
    "pattern, weight",
    [
        ("^$", 1),
        ("^abc$", 3),
        (r"^\$\.\n\"\\$", 5),
        (r"^[\]a-z\n^-]$", 1),
        ("^[^a-z]$", 1),
        ("^[\u20ac]{2}\u20ac(\u20ac){2}$", 5),
        (r"^\}\]$", 2),
        ("^[A-Z]{3}-[0-9]{4}$", 8),
        (r"^([a-z]+\.)+com$", 5),
        ("^(a|b)c?$", 3),
        ("^a{,5}$", 5),
        ("^a{2,}$", 2),
        ("^((ab){10}c){20}$", 420),
        ("^a{2000}$", 2000),
        ("^" + ("(" * 50 + "a" + ")" * 50) * 2 + "$", 2),
    ],
)
def test_repetitions_of_a_pattern_that_ollama_knows(pattern: str, weight: int) -> None:
    assert repetitions(pattern, 2000) == weight


@pytest.mark.parametrize(
    "pattern, why",
    [
        ("", "begin with"),
        ("^", "begin with"),
        ("$", "begin with"),
        ("abc", "begin with"),
        ("^a\nb$", "printed"),
        ("^" + "a" * 511 + "$", "513 characters"),
        ("^" + "(" * 300 + ")" * 300 + "$", "602 characters"),
        ("^" + "(" * 50 + "a" + ")" * 50 + "(((" + "(" * 48 + "a$", "more than 50 levels"),
        ("^" + "(" * 510 + "$", "more than 50 levels"),
        # Undefined behaviour, an endless loop or an error of its own there.
        ("^*$", "nothing before"),
        ("^{2}$", "nothing before"),
        ("^(*)$", "nothing before"),
        ("^a|*$", "nothing before"),
        ("^a**$", "two quantifiers"),
        ("^]$", "opening"),
        ("^}$", "opening"),
        ("^a)$", "closing parenthesis"),
        ("^(a$", "opening parenthesis"),
        ("^[a$", "square bracket"),
        ("^abc\\$", "backslash"),
        ("^(?:a)$", "begins with"),
        ("^a{,}$", "curly"),
        ("^a{}$", "curly"),
        ("^a{x}$", "curly"),
        ("^a{2$", "curly"),
        ("^a{\u00b2}$", "curly"),
        ("^a{99999999999999999999}$", "curly"),
        # Without end.
        ("^a{5,3}$", "minimum is above"),
        # A grammar that cannot be read, or that nothing fits: the runner ends.
        (r"^\d$", "does not know"),
        (r"^[\w.-]$", "does not know"),
        (r"^a\/b$", "does not know"),
        (r"^a\-b$", "does not know"),
        (r"^\x41$", "does not know"),
        (r"^\u0041$", "does not know"),
        (r"^[\-a]$", "does not know"),
        ("^[z-a]$", "end is before"),
        ("^[]$", "empty square brackets"),
        ("^[^]$", "empty square brackets"),
        ("^\u20ac{2}$", "not ASCII"),
        ("^a{2001}$", "more than 2000"),
        ("^a{0,2001}$", "more than 2000"),
        ("^((a{100}){100}){100}$", "more than 2000"),
        ("^(a?){2}$", "can be empty"),
        ("^((a?){0,50}){0,50}$", "can be empty"),
        ("^((a?)?)?$", "can be empty"),
        ("^(a*)*$", "can be empty"),
        ("^(a?|b?)c$", "several alternatives"),
        ("^(|)$", "several alternatives"),
    ],
)
def test_repetitions_of_a_pattern_that_would_hurt_raises(pattern: str, why: str) -> None:
    with pytest.raises(InvalidPatternError, match=why):
        repetitions(pattern, 2000)
