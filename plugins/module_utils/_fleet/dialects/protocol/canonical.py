# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""LegionIO's canonical messages, tools and reasons to stop, translated to and from Ollama's API.

A canonical message has fields that Ollama does not have (ids, times, versions). They are left out silently, because
only the requester uses them. Content that Ollama does not support is refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ...._ollama.option_ranges import RefusedFieldError
from ...messages import Request, json_object

#: The JSON schema of a tool without parameters.
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}

#: LegionIO's words for Ollama's reasons to end an answer; any other reason is ``end_turn``.
_FINISH_REASONS = {"stop": "end_turn", "length": "max_tokens"}


def embedding_of(request: Request, result: Mapping[str, Any]) -> Any:
    """Return the vector of a single text, or the vectors of a list of texts."""
    vectors = result.get("embeddings")
    single = isinstance(request.arguments.get("input"), str) and isinstance(vectors, list) and len(vectors) == 1
    return vectors[0] if single and vectors else vectors


def message_of(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the message in an answer of Ollama; an empty one if there is none."""
    message = result.get("message")
    return message if isinstance(message, Mapping) else {}


def ollama_messages(messages: Any, system: Any) -> Any:
    """Return the messages of a chat as Ollama takes them. Anything but a list is returned unchanged, and refused later.

    :param messages: canonical messages; None counts as an empty list.
    :param system: text or blocks of a system message before them.
    :raises RefusedFieldError: if a part of them has no place in Ollama's API.
    """
    given = [] if messages is None else messages
    if not isinstance(given, list):
        return given
    translated: list[Any] = []
    if system is not None:
        translated += _translated({"role": "system", "content": system}, {})
    tools: dict[str, str] = {}
    for message in given:
        translated += _translated(message, tools) if isinstance(message, dict) else [message]
    return translated


@dataclass
class _ContentParts:
    """The parts of a message's content.

    :ivar results: results of tools, which are separate messages for Ollama.
    """

    text: str = ""
    thinking: str = ""
    images: list[Any] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    results: list[Mapping[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, content: Any) -> _ContentParts:
        if content is None or isinstance(content, str):
            return cls(content or "")
        parts = cls()
        for block in content if isinstance(content, list) else [content]:
            kind, value = _block(block)
            if kind == "text":
                parts.text += value
            elif kind == "thinking":
                parts.thinking += value
            else:
                {"image": parts.images, "tool_use": parts.calls, "tool_result": parts.results}[kind].append(value)
        return parts


def _translated(message: Mapping[str, Any], tools: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the messages for Ollama. Results of tools in the content become separate messages, and come first.

    :param tools: the names of the tools that were called, by the id of the call.
    """
    parts = _ContentParts.of(message.get("content"))
    for result in parts.results:
        yield _result(result, tools)
    made: dict[str, Any] = {**({"role": message["role"]} if "role" in message else {}), "content": parts.text}
    if parts.thinking:
        made["thinking"] = parts.thinking
    for name in ("thinking", "tool_name"):
        if isinstance(message.get(name), str):
            made[name] = message[name]
    images = [*_listed(message.get("images")), *parts.images]
    if images:
        made["images"] = images
    calls = [_call(call, tools) for call in (*_listed(message.get("tool_calls")), *parts.calls)]
    if calls:
        made["tool_calls"] = calls
    if made.get("role") == "tool":
        _name_tool(made, message, tools)
    if made["content"] or not parts.results or made.keys() - {"role", "content"}:
        yield made


def _listed(value: Any) -> list[Any]:
    """Return a list, or the values of an object."""
    if value is None:
        return []
    if isinstance(value, dict):
        return list(value.values())
    if not isinstance(value, list):
        raise RefusedFieldError("messages", "has tool_calls or images that are not a list")
    return list(value)


def _block(block: Any) -> tuple[str, Any]:
    """Return the kind of a block, and its content for Ollama."""
    if isinstance(block, str):
        return "text", block
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text" and isinstance(block.get("text"), str):
        return "text", block["text"]
    if kind == "thinking":
        thought = block.get("text", block.get("thinking"))
        return "thinking", thought if isinstance(thought, str) else ""
    if kind in ("image", "audio"):
        data, source = block.get("data"), block.get("source_type", "base64")
        inner = block.get("source")
        if data is None and isinstance(inner, dict):
            data, source = inner.get("data"), inner.get("type", "base64")
        if isinstance(data, str) and source == "base64":
            return "image", data
        raise RefusedFieldError(
            "messages.content", f"has {kind} outside the request, which is not fetched; put it into data, in base64"
        )
    if kind in ("tool_use", "tool_result"):
        return kind, block
    raise RefusedFieldError(
        "messages.content",
        "has a block that is empty, or is not text, thinking, image, audio, tool_use or tool_result",
    )


def _result(block: Mapping[str, Any], tools: Mapping[str, str]) -> dict[str, Any]:
    content = block.get("text", block.get("content"))
    if isinstance(content, list):
        content = "".join(value for kind, value in map(_block, content) if kind == "text")
    made = {"role": "tool", "content": content if isinstance(content, str) else ""}
    _name_tool(made, {"tool_call_id": block.get("tool_use_id"), "name": block.get("name")}, tools)
    return made


def _name_tool(made: dict[str, Any], message: Mapping[str, Any], tools: Mapping[str, str]) -> None:
    """Name the tool of a result. A requester may give only the id of the call."""
    identifier, name = message.get("tool_call_id"), message.get("name")
    if isinstance(identifier, str) and identifier:
        made["tool_call_id"] = identifier
        name = name or tools.get(identifier)
    if isinstance(name, str) and name:
        made.setdefault("tool_name", name)


def _call(call: Any, tools: dict[str, str]) -> dict[str, Any]:
    """Return a tool call for Ollama. Ollama 0.5.5 to 0.24.0 ignores the id."""
    function = call.get("function", call) if isinstance(call, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if function is None or not isinstance(name, str) or not name:
        raise RefusedFieldError("messages.tool_calls", "has a call without the name of a tool")
    arguments = function.get("arguments", function.get("input"))
    if isinstance(arguments, str):
        arguments = json_object(arguments)
    elif arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise RefusedFieldError("messages.tool_calls", "has arguments that are not an object")
    made: dict[str, Any] = {"function": {"name": name, "arguments": arguments}}
    identifier = call.get("id")
    if isinstance(identifier, str) and identifier:
        made["id"] = identifier
        tools[identifier] = name
    return made


def ollama_tools(tools: Any) -> list[dict[str, Any]]:
    """Return tools as Ollama takes them.

    :param tools: an object that holds each tool by its name, or a list of tools.
    :raises RefusedFieldError: if they are neither, or a tool is invalid.
    """
    if isinstance(tools, dict):
        listed = [({"name": name, **tool} if isinstance(tool, dict) else tool) for name, tool in tools.items()]
    elif isinstance(tools, list):
        listed = tools
    else:
        raise RefusedFieldError("tools", "must be an object with a tool for each name, or a list of tools")
    return [_tool(tool) for tool in listed]


def _tool(tool: Any) -> dict[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if function is None or not isinstance(name, str) or not name:
        raise RefusedFieldError("tools", "has a tool without a name")
    parameters = function.get("parameters", function.get("input_schema"))
    if parameters is None:
        parameters = _NO_PARAMETERS
    if not isinstance(parameters, Mapping):
        raise RefusedFieldError("tools", "has a tool whose parameters are not a JSON schema")
    description = function.get("description")
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description if isinstance(description, str) else "",
            "parameters": {**parameters, "type": parameters.get("type", "object")},
        },
    }


def canonical_calls(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tool calls in a message of Ollama, each with an id."""
    calls = message.get("tool_calls")
    found: list[dict[str, Any]] = []
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            continue
        identifier, arguments = call.get("id"), function.get("arguments")
        found.append(
            {
                "id": identifier if isinstance(identifier, str) and identifier else f"call_{uuid.uuid4().hex[:24]}",
                "name": str(function.get("name", "")),
                "arguments": arguments if isinstance(arguments, dict) else {},
            }
        )
    return found


def finish_reason(result: Mapping[str, Any], *, calls: bool) -> str:
    """Return why an answer of Ollama ended, in LegionIO's words.

    :param calls: whether the answer has tool calls.
    """
    reason: Optional[Any] = result.get("done_reason")
    return "tool_use" if calls else _FINISH_REASONS.get(reason if isinstance(reason, str) else "", "end_turn")
