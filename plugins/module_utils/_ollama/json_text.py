# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""JSON texts from outside: this file reads them all, and keeps deeply nested ones from Python's parser.

The parser calls itself for each level. Deep inside of a text it runs close to the greatest depth of calls that Python
allows (about 1,000 levels in Python 3.9 to 3.11, 1,500 in 3.12.1, 10,000 in 3.13). Python may collect garbage at that
moment, and then runs the finalizers of objects that have nothing to do with the text. Such a finalizer meets the limit
in place of the parser: Python writes a raw "Exception ignored" to standard error, and what the finalizer was to close
stays open. The text is read as if nothing had happened, so that ``except RecursionError`` around the parser is no help.
"""

from __future__ import annotations

import itertools
import json
from typing import Any, Union

#: Levels of lists and objects that a text from outside may have. Ruby's json takes as many by default
#: (JSON.parse, ``max_nesting``), and the schema of an answer, the deepest thing that requests have, may have 64.
MAX_LEVELS = 100

#: Bytes that are taken at a time. A longer piece costs more: its memory comes fresh from the system.
_PIECE = 1 << 16

#: Innermost levels that are taken away at once, before brackets are counted one by one. Nearly no text has more.
_AT_ONCE = 8

#: All brackets become square ones; nothing else but quotation marks is kept.
_SQUARE = bytes.maketrans(b"{}", b"[]")
_REST = bytes(set(range(256)) - set(b'[]{}"'))

_PLAIN = json.JSONDecoder()


class NestedTooDeeplyError(ValueError):
    """A JSON text has more levels than a reader takes. The message goes on after "it"."""


class AmbiguousObject(dict[str, Any]):
    """An object of JSON in which, or below which, an object has a name twice: readers disagree which one counts."""


def read_json(content: Union[str, bytes], decoder: json.JSONDecoder = _PLAIN, most: int = MAX_LEVELS) -> Any:
    """Return what a JSON text from outside holds.

    :param content: the text, or its bytes in UTF-8, UTF-16 or UTF-32.
    :param most: levels that it may have.
    :raises NestedTooDeeplyError: when it has more levels.
    :raises ValueError: when it is not JSON, or the decoder refuses it.
    """
    text = content if isinstance(content, str) else content.decode(json.detect_encoding(content), "surrogatepass")
    if has_more_levels(text, most):
        raise NestedTooDeeplyError(f"is nested more than {most} levels deep")
    return decoder.decode(text)


def read_json_closely(content: Union[str, bytes], **options: Any) -> Any:
    """Return the same as :func:`read_json`, and an :class:`AmbiguousObject` for an object where a name stands twice.

    :param options: of the decoder.
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
    """Whether lists and objects stand in each other in more levels than allowed. Brackets in texts do not count.

    A text that is not JSON has at least the levels that a parser meets before it gives up.
    """
    if _has_few_openings(text, most):
        return False
    # In this order: of two backslashes in a row the second one does not belong to the quotation mark behind it.
    plain = text.replace("\\\\", "").replace('\\"', "")
    pieces = (plain[start : start + _PIECE] for start in range(0, len(plain), _PIECE))
    marks = b"".join([piece.encode("utf-8", "surrogatepass").translate(_SQUARE, _REST) for piece in pieces])
    # Every second part stands between quotation marks. Two in a row have nothing between them to take away.
    brackets = b"".join(marks.replace(b'""', b"").split(b'"')[::2])
    for levels in range(_AT_ONCE):
        if not brackets:
            return levels > most
        brackets = brackets.replace(b"[]", b"")
    steps = (1 if bracket == ord("[") else -1 for bracket in brackets)
    return any(depth > most - _AT_ONCE for depth in itertools.accumulate(steps, initial=0))


def _has_few_openings(text: str, most: int) -> bool:
    """Whether a text has so few opening brackets that it cannot be nested deeply, wherever they stand."""
    left = most
    for bracket in "[{":
        at = text.find(bracket)
        while at >= 0:
            left -= 1
            if left < 0:
                return False
            at = text.find(bracket, at + 1)
    return True
