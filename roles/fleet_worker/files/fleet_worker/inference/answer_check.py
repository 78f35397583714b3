# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that an answer of Ollama fits the request: the right parts, of the right types, and not empty.

Ollama itself is reliable in this. A proxy, another server that speaks its API, or a model of a cloud is not always; and
a requester that receives a success looks no further.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Optional

from .._ollama.api_errors import UnexpectedAnswerError
from .._ollama.usage import counted

#: Why Ollama has ended an answer that has nothing in it because nothing was asked: it has loaded or unloaded the model.
_NOTHING_ASKED = ("load", "unload")


def check_answer(call: str, asked: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Check a complete answer.

    :param call: ``chat``, ``generate`` or ``embed``.
    :param asked: what Ollama was sent.
    :param result: the document that came, of a stream the joined one.
    :raises UnexpectedAnswerError: when the answer does not fit.
    """
    if call == "embed":
        check_vectors(result.get("embeddings"), _texts_in(asked.get("input")), counted(asked.get("dimensions")))
    elif call == "chat":
        message = result.get("message")
        if not isinstance(message, Mapping):
            raise _unexpected("has no message")
        _check_content(message, message.get("content"), result, nothing_asked=not asked.get("messages"))
    else:
        _check_content(result, result.get("response"), result, nothing_asked=not asked.get("prompt"))


def check_vectors(vectors: object, wanted: Optional[int], widest: int = 0) -> None:
    """Check embeddings.

    :param wanted: how many there must be; None for any number.
    :param widest: how many numbers each may have; 0 for any number. Ollama gives fewer when its model does.
    :raises UnexpectedAnswerError: when their number, a width or a value is wrong.
    """
    if not isinstance(vectors, list) or (wanted is not None and len(vectors) != wanted):
        found = len(vectors) if isinstance(vectors, list) else "no"
        raise _unexpected(f"has {found} embeddings for {wanted} texts")
    width = 0
    for vector in vectors:
        if not isinstance(vector, list) or not vector:
            raise _unexpected("has an embedding that is empty, or no list")
        width = width or len(vector)
        if len(vector) != width:
            raise _unexpected("has embeddings of several widths")
        if widest and width > widest:
            raise _unexpected(f"has embeddings of {width} dimensions, and {widest} were asked for")
        if not _are_finite(vector):
            raise _unexpected("has an embedding with something else in it than finite numbers")


def _are_finite(vector: list[Any]) -> bool:
    # As few steps in Python as possible: a batch has tens of thousands of numbers.
    if not set(map(type, vector)) <= {float, int}:
        return False
    try:
        # The sum of finite numbers can be infinite, too, if they are large enough.
        return math.isfinite(sum(vector)) or all(map(math.isfinite, vector))
    except OverflowError:
        return False  # an integer that no float can hold


def _texts_in(value: object) -> Optional[int]:
    """Return how many embeddings an input has; None when Ollama has to refuse it."""
    if value is None or value == "":
        return 0
    if isinstance(value, str):
        return 1
    return len(value) if isinstance(value, list) else None


def _check_content(part: Mapping[str, Any], text: object, result: Mapping[str, Any], *, nothing_asked: bool) -> None:
    thinking, calls, image = part.get("thinking"), part.get("tool_calls"), part.get("image")
    if not all(value is None or isinstance(value, str) for value in (text, thinking)):
        raise _unexpected("has a text that is none")
    if calls is not None and not (isinstance(calls, list) and all(isinstance(one, dict) for one in calls)):
        raise _unexpected("has tool calls that are none")
    if text or thinking or calls or image:
        return
    reason = result.get("done_reason")
    if nothing_asked and reason in _NOTHING_ASKED:
        return
    # The first token of a model can be the one that ends its answer, or begin what "stop" of the request ends.
    if reason == "length" or (reason == "stop" and counted(result.get("eval_count"))):
        return
    raise _unexpected("has nothing in it, and does not say why")


def _unexpected(what: str) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(f"Ollama's answer {what}", remedy="Look at what answers at the address of Ollama")
