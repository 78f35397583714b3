# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The length of the grammar that llama.cpp makes of a JSON schema.

Ollama truncates a grammar after 32768 bytes (v0.5.5; newer versions have more room for long schemas). A truncated
grammar is invalid, and ends the runner. So this module estimates the length by the rules of
common/json-schema-to-grammar.cpp. The estimate is rather too high than too low.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

#: Bytes of a rule besides its name and its content, and bytes of the suffix that makes a name unique.
_RULE = 6
_SUFFIX = 3
#: Bytes of the built-in rules, such as those for texts and numbers.
_FIXED = 2000
#: Bytes of the rule for a simple value, and for a range of integers.
_SIMPLE, _RANGE = 100, 700
#: Bytes around a property, bytes around the properties that may follow it, and bytes for each character of a name that
#: further properties must not have.
_PROPERTY, _FOLLOWING, _FURTHER = 35, 50, 40
#: Keys that give a text or a number its own rule.
_BOUNDED = frozenset(
    ["minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "format", "items"]
)


class GrammarTooLongError(ValueError):
    """A grammar would exceed its limit."""


class GrammarText:
    """Estimates the length of one grammar.

    :param target: returns the target of a reference in the schema.
    :param most: the most bytes of the grammar.
    """

    def __init__(self, target: Callable[[str], Any], most: int) -> None:
        self._target = target
        self._most = most
        self._total = 0
        self._referenced: set[str] = set()
        self._ahead: list[str] = []

    def length(self, schema: Mapping[str, Any]) -> int:
        """Return the bytes of the grammar of a schema. Its size and depth must be bounded.

        :raises GrammarTooLongError: at once when the bytes so far exceed the limit, so that the work is bounded, too.
        """
        self._add(_FIXED)
        self._rules(schema, 0)
        while self._ahead:
            reference = self._ahead.pop()
            self._rules(self._target(reference), _size(reference) + 3)
        return self._total

    def _add(self, size: int) -> None:
        self._total += size
        if self._total > self._most:
            raise GrammarTooLongError

    def _rules(self, node: Any, name: int) -> None:
        """Add the bytes of the rules of a schema.

        :param name: bytes of its name, which contains the names of its parents.
        """
        if not isinstance(node, dict):
            self._add(_SIMPLE + name)
            return
        own = name + _SUFFIX + _RULE
        kind = node.get("type")
        if isinstance(node.get("$ref"), str):
            self._add(own)
            self._reference(node["$ref"])
        elif (options := _options(node)) is not None:
            self._add(own)
            self._union(options, name)
        elif "const" in node:
            self._add(own + _literal(node["const"]))
        elif "enum" in node:
            values = node["enum"]
            self._add(own + sum(_literal(value) + 3 for value in (values if isinstance(values, list) else [values])))
        elif kind in (None, "object") and ("properties" in node or node.get("additionalProperties", True) is not True):
            self._add(own)
            self._object(node.get("properties"), node.get("required"), node, name)
        elif kind in (None, "object") and isinstance(node.get("allOf"), list):
            self._add(own)
            self._all_of(node["allOf"], name)
        elif kind in (None, "array") and ("items" in node or "prefixItems" in node):
            self._add(own)
            self._items(node.get("items", node.get("prefixItems")), name)
        elif isinstance(pattern := node.get("pattern"), str):
            # Each part with a number of repetitions becomes a rule.
            self._add(own + 8 * _size(pattern) + 80 + pattern.count("{") * (name + 20 + 2 * len(pattern)))
        elif not _BOUNDED.isdisjoint(node):  # otherwise a built-in rule
            self._add(own + (_RANGE if kind == "integer" else _SIMPLE))

    def _reference(self, reference: str) -> None:
        if reference not in self._referenced:
            self._referenced.add(reference)
            self._ahead.append(reference)
        self._add(_size(reference) + _SUFFIX + 3)

    def _union(self, options: list[Any], name: int) -> None:
        inner = name + 16
        for option in options:
            self._add(inner + _SUFFIX + 3)
            self._rules(option, inner)

    def _items(self, items: Any, name: int) -> None:
        if isinstance(items, list):
            for item in items:
                self._add(2 * (name + 12))
                self._rules(item, name + 12)
        else:
            self._add(2 * (name + 8) + _SIMPLE)
            self._rules(items, name + 5)

    def _all_of(self, parts: list[Any], name: int) -> None:
        """Add the bytes of the properties of all parts, which become one object."""
        names: set[str] = set()
        for component in components(parts):
            reference = component.get("$ref") if isinstance(component, dict) else None
            found = self._target(reference) if isinstance(reference, str) else component
            if not isinstance(found, dict):
                continue
            self._add(_literal(found["enum"]) if "enum" in found else 0)
            if isinstance(found.get("properties"), dict):
                # A name that occurs twice becomes two rules.
                self._object(found["properties"], None, {}, name)
                names.update(found["properties"])
        self._add(len(names))

    def _object(self, properties: Any, required: Any, node: Mapping[str, Any], name: int) -> None:
        self._add(_SIMPLE)
        own = properties if isinstance(properties, dict) else {}
        needed = {key for key in required if isinstance(key, str)} if isinstance(required, list) else set()
        for key, value in own.items():
            inner = name + 1 + _size(key)
            # The rule of the property with key and value, and its uses in the rule of the object.
            self._add(3 * (inner + _SUFFIX) + _literal(key) + _PROPERTY)
            if key not in needed:
                # A rule for the properties that may follow, and its uses in itself and in the rules before it.
                self._add(5 * (inner + _SUFFIX) + _FOLLOWING)
            self._rules(value, inner)
        further = node.get("additionalProperties")
        if further is True or isinstance(further, dict):
            inner = name + 12
            self._add(6 * (inner + _SUFFIX + 6) + 2 * _PROPERTY + _FURTHER * sum(len(key) + 1 for key in own))
            if isinstance(further, dict):
                self._rules(further, inner + 6)


def components(parts: list[Any]) -> Iterator[Any]:
    """Yield the parts of an ``allOf``; of a part with alternatives, yield these instead.

    The server writes out their properties, also those of the target of a reference, in one rule.
    """
    for part in parts:
        options = part.get("anyOf") if isinstance(part, dict) else None
        yield from options if isinstance(options, list) else (part,)


def _options(node: Mapping[str, Any]) -> Optional[list[Any]]:
    """Return the alternatives of a schema; None if it has none."""
    for key in ("oneOf", "anyOf"):
        if isinstance(node.get(key), list):
            return list(node[key])
    kinds = node.get("type")
    return [{**node, "type": kind} for kind in kinds] if isinstance(kinds, list) else None


def _literal(value: Any) -> int:
    """Return the bytes of a value in a grammar: JSON with escaped quotation marks."""
    text = json.dumps(value, ensure_ascii=False)
    return _size(text) + text.count('"') + text.count("\\") + 10


def _size(text: str) -> int:
    """Return the bytes of a text, also of one with half of a surrogate pair, which UTF-8 cannot encode."""
    return len(text.encode("utf-8", "replace"))
