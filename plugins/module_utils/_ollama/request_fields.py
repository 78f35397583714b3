# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The fields of Ollama's inference API: those that are passed on, and those that are refused.

Each field of the API of v0.5.5 to v0.32.5 (api/types.go) is in exactly one of the tables here. So no field gets lost:
it reaches Ollama, or the error names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Callable, Optional

from .content_parts import messages_of
from .numbers import whole
from .option_ranges import RefusedFieldError
from .pictures import Pictures
from .schema_limits import checked_format

#: The most texts of one embedding request.
MAX_INPUTS = 2048
#: Ollama's own limit (server/routes.go).
MAX_TOP_LOGPROBS = 20
MAX_DIMENSIONS = 65536

#: The most unknown fields to name to the requester.
MAX_NAMED = 20

#: The fields that each call passes on, besides the model.
PASSED: Mapping[str, tuple[str, ...]] = {
    "chat": (
        "messages",
        "tools",
        "format",
        "options",
        "keep_alive",
        "think",
        "truncate",
        "shift",
        "logprobs",
        "top_logprobs",
    ),
    "generate": (
        "prompt",
        "suffix",
        "images",
        "format",
        "options",
        "system",
        "raw",
        "keep_alive",
        "think",
        "truncate",
        "shift",
        "logprobs",
        "top_logprobs",
    ),
    "embed": ("input", "truncate", "options", "keep_alive", "dimensions"),
}

#: Fields of the API that are refused in every call, and why.
REFUSED: Mapping[str, str] = {
    "template": "is not passed on: it is a program that would run in Ollama; the model's own template is used",
    "context": "is not passed on: a token number that the model does not have ends Ollama; send messages to chat",
    "_debug_render_only": "is not passed on: it asks for no inference",
    "width": "is not passed on: answers with a generated picture are not served",
    "height": "is not passed on: answers with a generated picture are not served",
    "steps": "is not passed on: answers with a generated picture are not served",
}

#: Fields of other calls. They would have no effect, so a request that has one is refused.
_FOREIGN: Mapping[str, tuple[str, ...]] = {
    call: tuple(sorted({name for names in PASSED.values() for name in names} - set(own)))
    for call, own in PASSED.items()
}

_UNWANTED: Mapping[str, frozenset[str]] = {call: frozenset((*REFUSED, *names)) for call, names in _FOREIGN.items()}

#: Omitted without an error: LegionIO's requesters send these fields with each chat, and its workers omit them.
_LEFT_OUT: Mapping[str, frozenset[str]] = {"chat": frozenset({"system"})}


def passed_on(
    call: str, document: Mapping[str, Any], others: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields for Ollama, besides the model, and the names of omitted fields.

    A null counts as absent.

    :param call: ``chat``, ``generate`` or ``embed``.
    :param document: the body of the request.
    :param others: names of fields that are not for Ollama.
    :raises RefusedFieldError: for a field or a value that is not passed on.
    """
    left_out: list[str] = []
    lenient = _LEFT_OUT.get(call, frozenset())
    for name in _UNWANTED[call] & document.keys():
        if document[name]:
            if name in lenient:
                left_out.append(name)
            else:
                raise RefusedFieldError(name, REFUSED.get(name) or f"is not a field of {call}; ask with another type")
    arguments: dict[str, Any] = {}
    for name in PASSED[call]:
        value = document.get(name)
        if value is not None:
            value = messages_of(value, left_out) if name == "messages" else _CHECKS[name](name, value)
            if value is not None:
                arguments[name] = value
    known = _known(call, others)
    if not document.keys() <= known:
        left_out += islice((name for name in document if name not in known), MAX_NAMED)
    return arguments, tuple(left_out)


@lru_cache(maxsize=8)
def _known(call: str, others: frozenset[str]) -> frozenset[str]:
    return others.union(PASSED[call], REFUSED, _FOREIGN[call])


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise RefusedFieldError(name, "must be a text")
    return value


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise RefusedFieldError(name, "must be true or false")
    return value


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise RefusedFieldError(name, "must be a list")
    return value


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RefusedFieldError(name, "must be an object")
    return value


def _number(most: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        number = whole(value)
        if number is None or not 0 <= number <= most:
            raise RefusedFieldError(name, f"must be a whole number from 0 to {most}")
        return number

    return check


def _think(name: str, value: Any) -> Any:
    if not (isinstance(value, bool) or (isinstance(value, str) and value in ("low", "medium", "high", "max"))):
        raise RefusedFieldError(name, "must be true, false, low, medium, high or max")
    return value


def _format(_name: str, value: Any) -> Any:
    return checked_format(value)


def _images(name: str, value: Any) -> Any:
    Pictures().add(name, value)
    return value


def _input(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise RefusedFieldError(name, "must be a text or a list of texts")
    if len(value) > MAX_INPUTS:
        raise RefusedFieldError(name, f"has {len(value)} texts, and {MAX_INPUTS} are allowed", too_large=True)
    return value


def _as_it_is(_name: str, value: Any) -> Any:
    """Return a value unchecked: the lane decides about it, and knows the types."""
    return value


_CHECKS: Mapping[str, Callable[[str, Any], Optional[Any]]] = {
    "tools": _list,
    "format": _format,
    "options": _object,
    "keep_alive": _as_it_is,
    "think": _think,
    "truncate": _truth,
    "shift": _truth,
    "logprobs": _truth,
    "top_logprobs": _number(MAX_TOP_LOGPROBS),
    "prompt": _text,
    "suffix": _text,
    "system": _text,
    "raw": _truth,
    "images": _images,
    "input": _input,
    "dimensions": _number(MAX_DIMENSIONS),
}
