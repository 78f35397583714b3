# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Foreign text in what people read."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.text import printable
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "value, shown",
    [
        ("llama3:latest", "llama3:latest"),
        ("Größe 語", "Größe 語"),
        ("one\ntwo\r", "one\\ntwo\\r"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("half \ud83d", "half \\ud83d"),
        (b"caf\xe9", "caf\\xe9"),
        (5, "5"),
        (None, "None"),
    ],
)
def test_printable_escapes_what_a_terminal_would_obey(value, shown):
    assert printable(value) == shown


def test_printable_long_text_is_cut_and_says_so():
    assert printable("x" * 1000) == "x" * 200 + "... (800 more characters)"
    assert printable("x" * 1000, 10) == "x" * 10 + "... (990 more characters)"


@given(st.text(alphabet=st.characters(), max_size=300))
def test_printable_any_text_becomes_one_encodable_line(text):
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")
