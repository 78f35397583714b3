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
from collections.abc import Mapping
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


class GrammarText:
    """Estimates the length of one grammar.

    :param target: returns the target of a reference in the schema.
    """

    def __init__(self, target: Callable[[str], Any]) -> None:
        self._target = target
        self._referenced: set[str] = set()
        self._ahead: list[str] = []

    def length(self, schema: Mapping[str, Any]) -> int:
        """Return the bytes of the grammar of a schema. Its size and depth must be bounded."""
        total = _FIXED + self._rules(schema, 0)
        while self._ahead:
            reference = self._ahead.pop()
            total += self._rules(self._target(reference), len(reference.encode()) + 3)
        return total

    def _rules(self, node: Any, name: int) -> int:
        """Return the bytes of the rules of a schema.

        :param name: bytes of its name, which contains the names of its parents.
        """
        if not isinstance(node, dict):
            return _SIMPLE + name
        own = name + _SUFFIX + _RULE
        if isinstance(node.get("$ref"), str):
            return own + self._reference(node["$ref"])
        options = _options(node)
        if options is not None:
            return own + self._union(options, name)
        if "const" in node:
            return own + _literal(node["const"])
        if "enum" in node:
            values = node["enum"]
            return own + sum(_literal(value) + 3 for value in (values if isinstance(values, list) else [values]))
        if node.get("type") in (None, "object"):
            if "properties" in node or node.get("additionalProperties", True) is not True:
                return own + self._object(node.get("properties"), node.get("required"), node, name)
            if isinstance(node.get("allOf"), list):
                return own + self._all_of(node["allOf"], node, name)
        if node.get("type") in (None, "array") and ("items" in node or "prefixItems" in node):
            return own + self._items(node.get("items", node.get("prefixItems")), name)
        pattern = node.get("pattern")
        if isinstance(pattern, str):
            # Each part with a number of repetitions becomes a rule.
            return own + 8 * len(pattern.encode()) + 80 + pattern.count("{") * (name + 20 + 2 * len(pattern))
        if _BOUNDED.isdisjoint(node):
            return 0  # a built-in rule
        return own + (_RANGE if node.get("type") == "integer" else _SIMPLE)

    def _reference(self, reference: str) -> int:
        if reference not in self._referenced:
            self._referenced.add(reference)
            self._ahead.append(reference)
        return len(reference.encode()) + _SUFFIX + 3

    def _union(self, options: list[Any], name: int) -> int:
        inner = name + 16
        return sum(inner + _SUFFIX + 3 + self._rules(option, inner) for option in options)

    def _items(self, items: Any, name: int) -> int:
        if isinstance(items, list):
            return sum(2 * (name + 12) + self._rules(item, name + 12) for item in items)
        return 2 * (name + 8) + _SIMPLE + self._rules(items, name + 5)

    def _all_of(self, parts: list[Any], node: Mapping[str, Any], name: int) -> int:
        properties: dict[str, Any] = {}
        total = 0
        for part in parts:
            options = part.get("anyOf") if isinstance(part, dict) else None
            for option in options if isinstance(options, list) else [part]:
                found = option
                if isinstance(option, dict) and isinstance(option.get("$ref"), str):
                    found = self._target(option["$ref"])
                if not isinstance(found, dict):
                    continue
                total += _literal(found["enum"]) if "enum" in found else 0
                if isinstance(found.get("properties"), dict):
                    # A name that occurs twice becomes two rules.
                    total += self._object(found["properties"], None, {}, name)
                    properties.update(found["properties"])
        return total + len(properties)

    def _object(self, properties: Any, required: Any, node: Mapping[str, Any], name: int) -> int:
        total = _SIMPLE
        own = properties if isinstance(properties, dict) else {}
        needed = {key for key in required if isinstance(key, str)} if isinstance(required, list) else set()
        for key, value in own.items():
            inner = name + 1 + len(key.encode("utf-8", "replace"))
            # The rule of the property with key and value, and its uses in the rule of the object.
            total += self._rules(value, inner) + 3 * (inner + _SUFFIX) + _literal(key) + _PROPERTY
            if key not in needed:
                # A rule for the properties that may follow, and its uses in itself and in the rules before it.
                total += 5 * (inner + _SUFFIX) + _FOLLOWING
        further = node.get("additionalProperties")
        if further is True or isinstance(further, dict):
            inner = name + 12
            total += 6 * (inner + _SUFFIX + 6) + 2 * _PROPERTY + _FURTHER * sum(len(key) + 1 for key in own)
            total += self._rules(further, inner + 6) if isinstance(further, dict) else 0
        return total


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
    return len(text.encode("utf-8", "replace")) + text.count('"') + text.count("\\") + 10
