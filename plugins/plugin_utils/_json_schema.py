# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Validation of a value by a JSON schema of pydantic, as lenient as pydantic itself.

A controller may have neither pydantic nor jsonschema, because ansible-core does not need them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

#: The most bytes of a name: AMQP 0-9-1 sends names as short strings.
MAX_NAME = 255

BOOLEANS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", "1", "0"})

Problem = tuple[str, str]


def schema_problems(value: Any, schema: Mapping[str, Any]) -> list[Problem]:
    """Return the problems of a value, each as a key and a description."""
    return list(_problems(value, schema, "", schema.get("$defs", {})))


def _problems(value: Any, schema: Mapping[str, Any], key: str, named: Mapping[str, Any]) -> Iterator[Problem]:
    if "$ref" in schema:
        schema = named[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        found = [list(_problems(value, one, key, named)) for one in schema["anyOf"]]
        if all(found):
            # The schema of the value's kind has the problem with the longest key.
            yield from max(found, key=lambda problems: max(len(place) for place, _what in problems))
        return
    if not _is(value, schema.get("type")):
        yield key, f"must be {_NAMES.get(schema['type'], schema['type'])}, but is {_shown(value)}"
    elif "const" in schema and (
        value != schema["const"] or isinstance(value, (bool, str)) != isinstance(schema["const"], (bool, str))
    ):
        yield key, f"must be {schema['const']}"
    elif "enum" in schema and value not in schema["enum"]:
        yield key, f"must be one of {', '.join(map(str, schema['enum']))}"
    elif schema.get("type") == "object":
        yield from _object_problems(value, schema, key, named)
    elif schema.get("type") == "array":
        yield from _array_problems(value, schema, key, named)
    elif schema.get("type") == "string":
        yield from _text_problems(value, schema, key)
    elif schema.get("type") in ("integer", "number"):
        yield from _number_problems(float(value), schema, key)


def _object_problems(value: Any, schema: Mapping[str, Any], key: str, named: Mapping[str, Any]) -> Iterator[Problem]:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield _below(key, name), "is missing"
    for name, one in value.items():
        more = schema.get("additionalProperties", True)
        if not isinstance(name, str):
            yield _below(key, str(name)), "is a key that is not a text"
            continue
        for _key, what in _problems(name, schema.get("propertyNames", {}), key, named):
            yield _below(key, name), f"is a name that {what}"
        if name in properties:
            yield from _problems(one, properties[name], _below(key, name), named)
        elif more is False:
            yield _below(key, name), "is not a known key"
        elif isinstance(more, Mapping):
            yield from _problems(one, more, _below(key, name), named)


def _array_problems(value: Any, schema: Mapping[str, Any], key: str, named: Mapping[str, Any]) -> Iterator[Problem]:
    least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
    if not least <= len(value) <= most:
        yield key, f"must have {least} entries{' or more' if most != least else ''}, but has {len(value)}"
    for place, one in enumerate(value):
        yield from _problems(one, schema.get("items", {}), _below(key, str(place)), named)


def _text_problems(value: str, schema: Mapping[str, Any], key: str) -> Iterator[Problem]:
    if len(value) < schema.get("minLength", 0):
        yield key, "is empty"
    elif "minLength" in schema and (len(value.encode("utf-8", "replace")) > MAX_NAME or not value.isprintable()):
        # Each text with a minimum length is a name in AMQP.
        yield key, f"must be a name of at most {MAX_NAME} bytes that can be shown"
    elif len(value) > schema.get("maxLength", len(value)):
        yield key, f"has {len(value)} characters, and may have {schema['maxLength']}"
    elif "pattern" in schema and not re.search(schema["pattern"], value):
        yield key, f"must match {schema['pattern']}"


def _number_problems(value: float, schema: Mapping[str, Any], key: str) -> Iterator[Problem]:
    if value < schema.get("minimum", value):
        yield key, f"must be {schema['minimum']:g} or more, but is {value:g}"
    elif value > schema.get("maximum", value):
        yield key, f"must be {schema['maximum']:g} or less, but is {value:g}"
    elif value <= schema.get("exclusiveMinimum", value - 1):
        yield key, f"must be more than {schema['exclusiveMinimum']:g}, but is {value:g}"


_NAMES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "empty",
    "number": "a number",
    "object": "a dictionary",
    "string": "a text",
}


def _is(value: Any, kind: Any) -> bool:
    if kind == "object":
        return isinstance(value, Mapping)
    if kind == "array":
        return isinstance(value, (list, tuple))
    if kind == "string":
        return isinstance(value, str)
    if kind == "null":
        return value is None
    if kind == "boolean":
        return isinstance(value, bool) or (isinstance(value, (int, str)) and str(value).lower() in BOOLEANS)
    if kind in ("integer", "number"):
        try:
            number = float(value) if isinstance(value, (int, float, str)) else float("nan")
        except ValueError:
            return False
        return abs(number) < float("inf") and (kind == "number" or number.is_integer())
    return True


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    for kind, name in ((str, "a text"), (Mapping, "a dictionary"), ((list, tuple), "a list")):
        if isinstance(value, kind):
            return name
    return str(value)[:40]


def _below(key: str, name: str) -> str:
    return f"{key}.{name[:60]}" if key else name[:60]
