# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Bodies that are passed to Ollama unchanged: the checks of their fields, and the changes by a lane.

Bodies are not translated: unknown fields reach Ollama. Values that would harm other users of the node are refused, as
in all other requests (``request_fields.py``). For these checks Python and Go must read the same document. Go
(encoding/json) ignores the case of names, and uses both of two fields with one name. So a body is refused if a field's
name has another case, or occurs twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .carried_paths import ANTHROPIC, CARRIED_PATHS, OLLAMA
from .documents import write_object
from .errors import InvalidNameError
from .json_text import AmbiguousObject
from .names import ModelName
from .option_ranges import RefusedFieldError
from .pictures import Pictures
from .request_fields import MAX_INPUTS, PASSED, REFUSED, passed_on
from .schema_limits import checked_format

#: The option of Ollama for each field of the compatible interfaces (openai/openai.go, anthropic.go).
_OPTIONS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "stop": "stop",
    "stop_sequences": "stop",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "max_tokens": "num_predict",
    "max_output_tokens": "num_predict",
}

#: Checked fields, of any interface.
_LOOKED_AT = frozenset(
    (
        *("model", "stream", "response_format", "text", "input", "messages", "tools", "prompt"),
        *_OPTIONS,
        *REFUSED,
        *(name for names in PASSED.values() for name in names),
    )
)

_MESSAGE = ("role", "content", "images", "thinking", "tool_calls")

#: Parts of a data URL, an address that contains the picture.
_DATA = "data:"
_BASE64 = ";base64,"


def wanted_of(path: str, body: bytes, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that the lane may override: ``options``, and ``keep_alive`` if present.

    :param path: one of :data:`CARRIED_PATHS`.
    :param document: the JSON object of the body, from :func:`~.json_text.read_json_closely`.
    :raises RefusedFieldError: for a field that is not passed on.
    """
    _one_spelling(document, _LOOKED_AT, "")
    if isinstance(document, AmbiguousObject):
        raise RefusedFieldError("body", "has a field twice, and readers disagree which one counts; send it once")
    known = CARRIED_PATHS[path]
    if known.interface == OLLAMA:
        return _wanted_by_ollama(path, known.call, document)
    for name in REFUSED:
        if name.startswith("_") and document.get(name):
            raise RefusedFieldError(name, REFUSED[name])
    _check_format(path, document)
    _check_pictures(body, document)
    inputs = document.get("input")
    if known.call == "embed" and isinstance(inputs, list) and len(inputs) > MAX_INPUTS:
        raise RefusedFieldError("input", f"has {len(inputs)} texts, and {MAX_INPUTS} are allowed", too_large=True)
    if known.interface == ANTHROPIC:
        _check_tools(document.get("tools"))
    options = {ours: document[name] for name, ours in _OPTIONS.items() if document.get(name) is not None}
    return {"options": options} if options else {}


def body_on_terms(body: bytes, document: Mapping[str, Any], path: str, terms: Mapping[str, Any]) -> bytes:
    """Return the body for Ollama: the original bytes, or a rewritten body if the lane overrides a field.

    :param terms: ``model``, ``options`` and ``keep_alive`` of the lane.
    :raises UnsendableRequestError: when the body cannot be rewritten.
    :raises RefusedFieldError: when the lane sets a value that the interface of the path cannot express.
    """
    changes: dict[str, Any] = {}
    if not _is_model(document.get("model"), terms["model"]):
        changes["model"] = terms["model"]
    if CARRIED_PATHS[path].interface == OLLAMA:
        for name in ("options", "keep_alive"):
            if _present(document.get(name)) != _present(terms.get(name)):
                changes[name] = terms.get(name)
    elif "num_ctx" in (terms.get("options") or {}):
        raise RefusedFieldError(
            "model", f"has a lane with its own context window, which {path} cannot request; use /api/chat"
        )
    if not changes:
        return body
    return write_object({name: value for name, value in {**document, **changes}.items() if value is not None})


def _present(value: Any) -> Any:
    return value or None if isinstance(value, dict) else value


def _is_model(asked: Any, served: str) -> bool:
    """Return whether Ollama itself resolves a name to the model of the lane."""
    if asked == served:
        return True
    try:
        return ModelName.parse(asked).key == ModelName.parse(served).key
    except InvalidNameError:
        return False


def _wanted_by_ollama(path: str, call: str, document: Mapping[str, Any]) -> dict[str, Any]:
    if path == "/api/embeddings":
        checked = {name: document[name] for name in ("options", "keep_alive") if document.get(name) is not None}
        if not isinstance(checked.get("options", {}), dict):
            raise RefusedFieldError("options", "must be an object")
        return checked
    for message in _list_of(document.get("messages")):
        _one_spelling(message, _MESSAGE, "messages.")
    arguments, _left_out = passed_on(call, document)
    return {name: arguments[name] for name in ("options", "keep_alive") if name in arguments}


def _check_format(path: str, document: Mapping[str, Any]) -> None:
    """Check the schema of the answer, in the field of each interface."""
    if path == "/v1/responses":
        inner = _object(document, "text", ("format",)).get("format")
        schema = _inside(inner, ("type", "schema"), "text.format.").get("schema")
    else:
        inner = _object(document, "response_format", ("type", "json_schema")).get("json_schema")
        schema = _inside(inner, ("schema",), "response_format.json_schema.").get("schema")
    if schema is not None:
        checked_format(schema)


def _object(document: Mapping[str, Any], name: str, fields: Iterable[str]) -> Mapping[str, Any]:
    return _inside(document.get(name), fields, f"{name}.")


def _inside(value: Any, fields: Iterable[str], place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        return {}
    _one_spelling(value, fields, place)
    return value


def _check_tools(tools: Any) -> None:
    for tool in _list_of(tools):
        _one_spelling(tool, ("type",), "tools.")
        kind = tool.get("type")
        if isinstance(kind, str) and kind.startswith("web_search"):
            # Ollama itself would search, at ollama.com (middleware/anthropic.go).
            raise RefusedFieldError("tools", "has the tool web_search, with which the node would call another server")


def _check_pictures(body: bytes, document: Mapping[str, Any]) -> None:
    """Check every picture of a request, in the fields of each interface."""
    if b"base64" not in body and b"\\u" not in body and b"data" not in body.lower():
        return
    pictures = Pictures()
    waiting: list[Any] = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
            _add_source(node, pictures)
        elif isinstance(node, str) and node.startswith(_DATA) and _BASE64 in node[:64]:
            pictures.add("messages.content", [node.partition(_BASE64)[2]])


def _add_source(node: Mapping[str, Any], pictures: Pictures) -> None:
    """Check a picture in Anthropic's interface (``source``), or a sound in OpenAI's (``input_audio``)."""
    for name, inner in node.items():
        if isinstance(inner, dict) and name.casefold() in ("source", "input_audio"):
            data = [value for key, value in inner.items() if key.casefold() == "data"]
            if data:
                pictures.add("messages.content", data)


def _list_of(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _one_spelling(found: Mapping[str, Any], fields: Iterable[str], place: str) -> None:
    known = fields if isinstance(fields, frozenset) else frozenset(fields)
    for name in found:
        if name not in known and name.casefold() in known:
            raise RefusedFieldError(f"{place}{name}"[:64], f"must be written {name.casefold()}")
