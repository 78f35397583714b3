# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Safe reading of JSON texts from outside: Python's parser never gets deeply nested ones.

The parser calls itself for each level. In a deeply nested text it runs close to Python's recursion limit (about 1,000
levels in Python 3.9 to 3.11, 1,500 in 3.12.1, 10,000 in 3.13). If Python then collects garbage, the finalizers
of unrelated objects exceed the limit instead of the parser: Python writes a raw "Exception ignored" to standard error,
and the resources of these objects stay open. The parser itself succeeds, so ``except RecursionError`` cannot help.
"""

from __future__ import annotations

import itertools
import json
from typing import Any, Union

#: The most levels of lists and objects in a text from outside; the default of Ruby's json (JSON.parse,
#: ``max_nesting``). The deepest part of a request is the schema of its answer, which may have 64.
MAX_LEVELS = 100

#: Bytes of a piece. A longer piece costs more, because the system must provide new memory.
_PIECE = 1 << 16

#: Innermost levels to remove at once, before brackets are counted one by one. Few texts have more.
_AT_ONCE = 8

#: A translation that keeps only quotation marks and brackets, and makes all brackets square.
_SQUARE = bytes.maketrans(b"{}", b"[]")
_REST = bytes(set(range(256)) - set(b'[]{}"'))

_PLAIN = json.JSONDecoder()


class NestedTooDeeplyError(ValueError):
    """A JSON text has more levels than allowed. The message completes "it ..."."""


class AmbiguousObject(dict[str, Any]):
    """A JSON object with a repeated name, at any level. Readers disagree which value counts."""


def read_json(content: Union[str, bytes], decoder: json.JSONDecoder = _PLAIN, most: int = MAX_LEVELS) -> Any:
    """Return the value of a JSON text from outside.

    :param content: the text, or its bytes in UTF-8, UTF-16 or UTF-32.
    :param most: the most levels of the text.
    :raises NestedTooDeeplyError: when the text has more levels.
    :raises ValueError: when the text is not JSON, or the decoder refuses it.
    """
    text = content if isinstance(content, str) else content.decode(json.detect_encoding(content), "surrogatepass")
    if has_more_levels(text, most):
        raise NestedTooDeeplyError(f"is nested more than {most} levels deep")
    return decoder.decode(text)


def read_json_closely(content: Union[str, bytes], **options: Any) -> Any:
    """Return the value of a JSON text like :func:`read_json`, but an :class:`AmbiguousObject` if it repeats a name.

    :param options: options of the decoder.
    """
    is_ambiguous = False

    def counted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal is_ambiguous
        made = dict(pairs)
        is_ambiguous = is_ambiguous or len(made) < len(pairs)
        return made

    value = read_json(content, json.JSONDecoder(object_pairs_hook=counted, **options))
    return AmbiguousObject(value) if is_ambiguous and isinstance(value, dict) else value


def has_more_levels(text: str, most: int) -> bool:
    """Return whether lists and objects are nested deeper than allowed. Brackets in strings do not count.

    In a text that is not JSON, at least the levels that a parser meets before it gives up count.
    """
    if _has_few_openings(text, most):
        return False
    # Backslashes first, because the second of two backslashes does not escape the quotation mark after it.
    plain = text.replace("\\\\", "").replace('\\"', "")
    pieces = (plain[start : start + _PIECE] for start in range(0, len(plain), _PIECE))
    marks = b"".join([piece.encode("utf-8", "surrogatepass").translate(_SQUARE, _REST) for piece in pieces])
    # Every second part is inside quotation marks.
    brackets = b"".join(marks.replace(b'""', b"").split(b'"')[::2])
    for levels in range(_AT_ONCE):
        if not brackets:
            return levels > most
        brackets = brackets.replace(b"[]", b"")
    steps = (1 if bracket == ord("[") else -1 for bracket in brackets)
    return any(depth > most - _AT_ONCE for depth in itertools.accumulate(steps, initial=0))


def _has_few_openings(text: str, most: int) -> bool:
    """Return whether a text has too few opening brackets to be nested deeply."""
    left = most
    for bracket in "[{":
        at = text.find(bracket)
        while at >= 0:
            left -= 1
            if left < 0:
                return False
            at = text.find(bracket, at + 1)
    return True
