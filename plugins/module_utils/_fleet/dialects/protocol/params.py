# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The object ``params`` of a request of protocol version 2 or 3, and what of it Ollama gets.

Options of the model stand in ``params`` itself, in ``params.options`` (which counts where ``params`` says nothing), or
in ``params.params`` (a piece of the provider's own request, which counts before all others). All three are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...._ollama.option_ranges import OPTIONS, RefusedFieldError
from .canonical import ollama_messages, ollama_tools

#: Options that Ollama has by another name.
_RENAMED: Mapping[str, str] = {"max_tokens": "num_predict", "stop_sequences": "stop"}

#: What a requester keeps for itself.
_NOT_FOR_OLLAMA = ("headers", "offering_id", "offering_metadata", "model", "stream", "provider", "provider_instance")

#: What Ollama is asked for a count of tokens: it says how many it has read when it has made one.
_COUNTED: Mapping[str, Any] = {"num_predict": 1}

Found = tuple[dict[str, Any], tuple[str, ...]]


def ollama_fields(operation: str, params: Mapping[str, Any]) -> Found:
    """Return the fields of Ollama's API that an operation asks for, unchecked, and what has no field there.

    :param operation: ``chat``, ``embed`` or ``count_tokens``; anything else counts as ``chat``.
    :raises RefusedFieldError: when a value has no meaning there.
    """
    fields, options = _flattened(params)
    for name in _NOT_FOR_OLLAMA:
        fields.pop(name, None)
    left_out: list[str] = []
    if operation == "embed":
        text = fields.pop("text", None)
        if fields.get("input") is None and text is not None:
            fields["input"] = text
    else:
        _translate_chat(fields, left_out)
    if operation == "count_tokens":
        # What is too long would be cut, and the count be that of the rest.
        fields["truncate"] = False
        fields.pop("format", None)
        options.update(_COUNTED)
    if options:
        fields["options"] = options
    return fields, tuple(left_out)


def _flattened(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields and the options of the model, wherever they stand. A null counts as absent."""
    raw = _object("params.params", params.get("params"))
    unpacked = _object("params.options", params.get("options"))
    own = {name: value for name, value in params.items() if name not in ("params", "options")}
    raw_options = _object("params.params.options", raw.pop("options", None))
    fields: dict[str, Any] = {}
    for source in (unpacked, own, raw):
        fields.update((name, value) for name, value in source.items() if value is not None)
    options: dict[str, Any] = {}
    for name in list(fields):
        option = _RENAMED.get(name, name)
        if option in OPTIONS:
            value = fields.pop(name)
            options.setdefault(option, value)
    options.update(raw_options)
    return fields, options


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
    if "thinking" in fields:
        fields.setdefault("think", _think(fields.pop("thinking"), left_out))
    schema, response_format = fields.pop("schema", None), fields.pop("response_format", None)
    wanted = _format(schema if schema is not None else response_format)
    if wanted is not None:
        fields["format"] = wanted


def _preferred(tools: list[dict[str, Any]], wishes: Mapping[str, Any], left_out: list[str]) -> list[dict[str, Any]]:
    """Return the tools that a requester wants used. Ollama cannot be made to call one, or a number of them."""
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
    return thinking.get("effort", True)


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
    # {schema} and {name, strict, schema} hold a schema; a schema itself has a type, or says by other words what fits.
    return inner["schema"] if isinstance(inner.get("schema"), dict) else inner
