# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.api_errors import UnsendableRequestError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.documents import read_object, write_object

DEEP: Any = 1
for _level in range(100_000):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    "content",
    [
        b"null",
        b"[]",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1} more',
        b"\xff",
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_read_object_of_something_else_returns_none(content: bytes) -> None:
    found = read_object(content)
    # Some versions of Python read integers of any length.
    assert found is None or isinstance(found["a"], int)


def test_read_object_of_an_object_returns_it() -> None:
    assert read_object('{"a": "\u00e4", "b": "\\ud800"}'.encode()) == {"a": "\u00e4", "b": "\ud800"}


@pytest.mark.parametrize(
    "document, why",
    [
        ({"messages": [{"content": "half \ud800"}]}, "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        (DEEP, "deeply"),
        ({"temperature": float("nan")}, "JSON does not have"),
        ({"temperature": float("inf")}, "JSON does not have"),
    ],
    ids=["text", "key", "deep", "nan", "infinite"],
)
def test_write_object_that_json_cannot_hold_is_refused(document: Any, why: str) -> None:
    with pytest.raises(UnsendableRequestError, match=why):
        write_object(document)


def test_write_object_keeps_what_it_is_given() -> None:
    document = {"a": "\u00e4", "b": [1, 2.5, None, True]}
    assert read_object(write_object(document)) == document
