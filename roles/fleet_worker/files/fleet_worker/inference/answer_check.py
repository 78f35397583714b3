# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that an answer of Ollama fits the request: the right parts, of the right types, and not empty.

Ollama's own answers fit. A proxy, another server with the same API, or a cloud model may answer anything, and a
requester does not check an answer that the worker reports as a success.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Optional

from .._ollama.api_errors import UnexpectedAnswerError
from .._ollama.usage import counted

#: The ``done_reason`` of an empty answer to an empty prompt: Ollama has only loaded or unloaded the model.
_NOTHING_ASKED = ("load", "unload")


def check_answer(call: str, asked: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Check a complete answer.

    :param call: ``chat``, ``generate`` or ``embed``.
    :param asked: the arguments of the call.
    :param result: the document of the answer; for a stream, the joined document.
    :raises UnexpectedAnswerError: if the answer does not fit.
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

    :param wanted: the required number of vectors; ``None`` for any number.
    :param widest: the largest allowed dimension; 0 for any. A model with a smaller dimension returns shorter vectors.
    :raises UnexpectedAnswerError: if the number of vectors, a dimension or a value is wrong.
    """
    if not isinstance(vectors, list) or (wanted is not None and len(vectors) != wanted):
        found = len(vectors) if isinstance(vectors, list) else "no"
        raise _unexpected(f"has {found} embeddings for {wanted} texts")
    width = 0
    for vector in vectors:
        if not isinstance(vector, list) or not vector:
            raise _unexpected("has an embedding that is empty or not a list")
        width = width or len(vector)
        if len(vector) != width:
            raise _unexpected("has embeddings of several widths")
        if widest and width > widest:
            raise _unexpected(f"has embeddings of {width} dimensions, and {widest} were asked for")
        if not _are_finite(vector):
            raise _unexpected("has an embedding with a value that is not a finite number")


def _are_finite(vector: list[Any]) -> bool:
    # Few steps in Python, because a batch has tens of thousands of numbers.
    if not set(map(type, vector)) <= {float, int}:
        return False
    try:
        # The sum of large finite numbers can be infinite, too.
        return math.isfinite(sum(vector)) or all(map(math.isfinite, vector))
    except OverflowError:
        return False  # an integer that is too large for a float


def _texts_in(value: object) -> Optional[int]:
    """Return the number of texts in an input; ``None`` if Ollama must refuse the input."""
    if value is None or value == "":
        return 0
    if isinstance(value, str):
        return 1
    return len(value) if isinstance(value, list) else None


def _check_content(part: Mapping[str, Any], text: object, result: Mapping[str, Any], *, nothing_asked: bool) -> None:
    thinking, calls, image = part.get("thinking"), part.get("tool_calls"), part.get("image")
    if not all(value is None or isinstance(value, str) for value in (text, thinking)):
        raise _unexpected("has a content or thinking that is not a text")
    if calls is not None and not (isinstance(calls, list) and all(isinstance(one, dict) for one in calls)):
        raise _unexpected("has tool_calls that are not a list of objects")
    if text or thinking or calls or image:
        return
    reason = result.get("done_reason")
    if nothing_asked and reason in _NOTHING_ASKED:
        return
    # An answer may be empty: the first token can end the answer, or can begin a text in "stop" of the request.
    if reason == "length" or (reason == "stop" and counted(result.get("eval_count"))):
        return
    raise _unexpected("is empty, and its done_reason does not explain that")


def _unexpected(what: str) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(
        f"Ollama's answer {what}",
        remedy="Check that an Ollama server, and not a proxy or another service, answers at the configured address",
    )
