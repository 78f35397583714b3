# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.json_size import has_more_values
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import Message, Properties, decode
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "text",
    [
        "[" + "{}," * 1000 + "1]",
        "[" * 2000,
        '{"a":' * 1000 + "1" + "}" * 1000,
        "[" + '"",' * 1000 + "1]",
        '[{"a":' + "1," * 3000,
        '"' * 3000,
    ],
)
def test_has_more_values_of_a_text_made_of_brackets_is_true(text: str) -> None:
    assert has_more_values(text, 500)


@pytest.mark.parametrize(
    "value",
    [
        "one, two, [three], {four} " * 1000,
        'she said: "no, [never]" ' * 1000,
        "back\\slash, " * 1000,
        '\\",[{' * 1000,
        ["a,b,c," * 50] * 90,
    ],
)
def test_has_more_values_of_much_text_is_false(value: Any) -> None:
    text = json.dumps({"messages": [{"role": "user", "content": value}]})
    assert len(text) > 500
    assert not has_more_values(text, 500)


VALUES = st.recursive(
    st.none() | st.text(alphabet='a,[]{}":\\', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(alphabet='a,["\\', max_size=4), inner, max_size=5)
    ),
    max_leaves=30,
)


def count(value: Any) -> int:
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + sum(map(count, inner))


@given(VALUES)
def test_has_more_values_never_misses_a_value_and_counts_none_three_times(value: Any) -> None:
    text, number = json.dumps(value), count(value)
    if len(text) > number * 3:
        assert not has_more_values(text, number * 3)
    if number > 6:
        # A scalar that is not a text counts by the comma before it, and the first of a list by the bracket.
        assert has_more_values(text, number // 3) or len(text) <= number // 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_decode_refuses_more_values_than_allowed_in_any_encoding(encoding: str) -> None:
    body = ('{"messages":[],"junk":[' + "{}," * 300 + "1]}").encode(encoding)
    document, failure = decode(Message(Properties(), {}, body), 10**6, max_values=200)
    assert (document, failure and failure.code) == ({}, "payload_too_large")
    assert decode(Message(Properties(), {}, body), 10**6)[1] is None
