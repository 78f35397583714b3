# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The object ``params`` of a request of protocol version 2 or 3, translated into fields of Ollama's API.

Options of the model are in ``params`` itself, in ``params.options`` (overridden by ``params``), or in ``params.params``
(a part of the provider's own request, which overrides the others). All three are read. Each is translated before they
are merged, because a later one may have another name for the same field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...._ollama.option_ranges import OPTIONS, RefusedFieldError
from .canonical import ollama_messages, ollama_tools

#: Options that Ollama has by another name.
_RENAMED: Mapping[str, str] = {"max_tokens": "num_predict", "stop_sequences": "stop"}

#: Fields that only the requester uses.
_NOT_FOR_OLLAMA = ("headers", "offering_id", "offering_metadata", "model", "stream", "provider", "provider_instance")

#: Options for a count of tokens: Ollama reports how many it has read after it has generated one.
_COUNTED: Mapping[str, Any] = {"num_predict": 1}

Found = tuple[dict[str, Any], tuple[str, ...]]


def ollama_fields(operation: str, params: Mapping[str, Any]) -> Found:
    """Return the unchecked fields for Ollama's API, and the names of params without a field there.

    :param operation: ``chat``, ``embed`` or ``count_tokens``; anything else counts as ``chat``.
    :raises RefusedFieldError: if a value cannot be translated.
    """
    left_out: list[str] = []
    fields, options = _flattened(operation, params, left_out)
    for name in _NOT_FOR_OLLAMA:
        fields.pop(name, None)
    if operation != "embed":
        _translate_chat(fields, left_out)
    if operation == "count_tokens":
        # Otherwise Ollama would cut a prompt that is too long, and count only the rest.
        fields["truncate"] = False
        fields.pop("format", None)
        options.update(_COUNTED)
    if options:
        fields["options"] = options
    return fields, tuple(dict.fromkeys(left_out))


def _flattened(operation: str, params: Mapping[str, Any], left_out: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields and the options of the model from all three places, under Ollama's names."""
    raw = _object("params.params", params.get("params"))
    unpacked = _object("params.options", params.get("options"))
    own = {name: value for name, value in params.items() if name not in ("params", "options")}
    raw_options = _object("params.params.options", raw.pop("options", None))
    fields: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for source in (unpacked, own, raw):
        for name, value in _translated(operation, source, left_out).items():
            (options if name in OPTIONS else fields)[name] = value
    options.update((name, value) for name, value in raw_options.items() if value is not None)
    return fields, options


def _translated(operation: str, source: Mapping[str, Any], left_out: list[str]) -> dict[str, Any]:
    """Return the fields of one place under Ollama's names. A null counts as absent.

    A format is null in the result if the requester wants any text.
    """
    found = {name: value for name, value in source.items() if value is not None}
    for name, ours in {**_RENAMED, **({"text": "input"} if operation == "embed" else {})}.items():
        if name in found:
            found.setdefault(ours, found.pop(name))
    if operation != "embed":
        if "thinking" in found:
            found.setdefault("think", _think(found.pop("thinking"), left_out))
        schema, response_format = found.pop("schema", None), found.pop("response_format", None)
        wanted = schema if schema is not None else response_format
        form = _format(wanted) if wanted is not None else None
        # A requester may name Ollama's field, and send the usual default of OpenAI's interface beside it.
        if wanted is not None and (form is not None or "format" not in found):
            found["format"] = form
    return found


def _object(name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RefusedFieldError(name, "must be an object")
    return dict(value)


def _translate_chat(fields: dict[str, Any], left_out: list[str]) -> None:
    fields["messages"] = ollama_messages(fields.get("messages"), fields.pop("system", None))
    tools = ollama_tools(fields.pop("tools")) if "tools" in fields else []
    tools = _preferred(tools, _object("tool_prefs", fields.pop("tool_prefs", None)), left_out)
    if tools:
        fields["tools"] = tools


def _preferred(tools: list[dict[str, Any]], wishes: Mapping[str, Any], left_out: list[str]) -> list[dict[str, Any]]:
    """Return the tools that a requester prefers. Ollama cannot be forced to call a tool, or a number of tools."""
    choice = wishes.get("choice")
    if wishes.get("calls") is not None:
        left_out.append("tool_prefs.calls")
    if choice is None or choice == "auto":
        return tools
    if choice == "none":
        return []
    left_out.append("tool_prefs.choice")
    return [tool for tool in tools if tool["function"]["name"] == choice] or tools


def _think(thinking: Any, left_out: list[str]) -> Any:
    if not isinstance(thinking, dict):
        return thinking
    left_out += [f"thinking.{name}" for name in ("budget", "budget_tokens") if thinking.get(name) is not None]
    if thinking.get("enabled") is False:
        return False
    effort = thinking.get("effort")
    return True if effort is None else effort


def _format(wanted: Any) -> Any:
    """Return the format of the answer: a JSON schema, ``json``, or None for any text."""
    if not isinstance(wanted, dict):
        return None if wanted in ("text", "") else "json" if wanted == "json_object" else wanted
    kind = wanted.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return "json"
    inner = wanted.get("json_schema", wanted)
    inner = inner if isinstance(inner, dict) else wanted
    # {schema} and {name, strict, schema} contain a schema; any other object is the schema itself.
    return inner["schema"] if isinstance(inner.get("schema"), dict) else inner
