# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The ``format`` of a request: the JSON schemas that are passed on to Ollama.

Ollama makes a grammar of a schema (llama.cpp, common/json-schema-to-grammar.cpp, in the server's own process), and
follows the grammar in the runner that all requests of the model share (llama-grammar.cpp). Neither step is safe with a
hostile schema:

- A repetition ``{least,most}`` becomes ``most`` rules. With ``least`` above ``most`` the negative difference is read as
  almost 2^64, and the runner runs out of memory.
- A bound of an integer with more than 15 digits becomes such a repetition.
- N optional properties of one object take time and memory in proportion to the third power of N.
- An invalid grammar ends the runner, too. A grammar is invalid if it is too long for Ollama, begins with itself, or has
  an empty choice.
- A schema with a list of types is visited once for each type, and these numbers multiply with each level.
- A reference to a reference to itself, a pattern such as ``^*$``, or a very long name crashes the server itself.
- A part of a pattern that may be empty and is repeated has exponentially many ways to be empty.
- The runner follows all alternatives with the same beginning at once, and these numbers multiply with each level.
- A reference in ``allOf`` is not a rule: the server writes its target out at each place, and these numbers multiply
  with each level, too. A target that contains such a reference to itself crashes the server.

So a schema is measured before it is sent: the rules and repetitions of its grammar, and the alternatives that the
runner would follow at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from .numbers import digits, finite, whole
from .option_ranges import RefusedFieldError
from .schema_grammar import GrammarText, GrammarTooLongError, components
from .schema_patterns import InvalidPatternError, repetitions

#: Values of a schema (itself and all nested ones), and its levels; a nested object takes two levels. The values of the
#: target of a reference in ``allOf`` count at each place.
MAX_NODES = 5000
MAX_DEPTH = 64
#: Properties of one object, and values of one enum.
MAX_PROPERTIES = 200
MAX_ENUM = 500
#: Characters of a name, and of all texts together.
MAX_NAME = 256
MAX_TEXT = 65536
#: A single repetition; the limit of llama.cpp, too (MAX_REPETITION_THRESHOLD).
MAX_REPETITION = 2000
#: Repetitions and parts of the whole grammar.
MAX_WEIGHT = 20000
#: Bytes of the grammar; the oldest servers truncate longer grammars.
MAX_GRAMMAR = 32_000
#: Alternatives that the runner follows at once.
MAX_ALIKE = 64
#: Values to visit while these are counted.
MAX_STEPS = 50_000
#: The absolute value of a bound of an integer.
MAX_BOUND = 10**15 - 1

_PAIRS = (("minLength", "maxLength"), ("minItems", "maxItems"))
_ANY, _SCALAR = "any", "scalar"
_SCALARS = ("string", "number", "integer", "boolean", "null")
#: Keys whose values are not schemas, or are visited only where a reference leads to them.
_NO_SCHEMAS = frozenset({"$defs", "definitions", "const", "enum", "required"})
_WORD = re.compile(r"[A-Za-z0-9_]+")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def checked_format(value: Any) -> Any:
    """Return the ``format`` for Ollama; None for a value that Ollama treats as unset.

    :raises RefusedFieldError: when it is neither ``json`` nor a schema, or a schema that is too large.
    """
    if value is None or value == "":
        return None
    if value == "json":
        return value
    if not isinstance(value, dict):
        raise RefusedFieldError("format", "must be the text json, or a JSON schema as an object")
    Measure(value).take()
    return value


@dataclass(frozen=True)
class _Beginning:
    """The beginning of an alternative's text.

    :ivar kind: the opening bracket, ``scalar`` for a value without brackets, or ``any`` if it is unknown.
    :ivar detail: the first property and its value, if they are certain; else empty.
    """

    kind: str
    detail: str = ""


class Measure:
    """Measures one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._nodes = 0
        self._text = 0
        self._weight = 0
        self._references: set[str] = set()
        #: The references in ``allOf`` whose targets are being visited.
        self._written_out: list[str] = []
        #: The beginnings of options by the identity of the option: many references can have one target.
        self._beginnings: dict[int, _Beginning] = {}

    def take(self) -> int:
        """Return the weight of the schema.

        :raises RefusedFieldError: when the schema exceeds a limit.
        """
        self._visit(self._schema, 1, 1)
        self._follow_alternatives()
        self._check_circles()
        try:
            GrammarText(self._target, MAX_GRAMMAR).length(self._schema)
        except GrammarTooLongError:
            raise _too_large(
                f"would become a grammar of more than {MAX_GRAMMAR} bytes; use fewer and shorter names"
            ) from None
        return self._weight

    def _visit(self, node: Any, depth: int, times: int) -> None:
        """Measure a value and all values in it.

        :param times: how often the value is visited when the grammar is made.
        """
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _too_large(f"has more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise _too_large(f"is nested more than {MAX_DEPTH} levels deep")
        self._add(times)
        if isinstance(node, str):
            self._add_text(node)
        elif isinstance(node, list):
            if len(node) > MAX_ENUM:
                raise _too_large(f"has a list of {len(node)} values, and {MAX_ENUM} are allowed")
            for item in node:
                self._visit(item, depth + 1, times)
        elif isinstance(node, dict):
            self._visit_object(node, depth, times)
        elif isinstance(node, (int, float)) and not isinstance(node, bool) and finite(node) is None:
            raise _invalid("has a number that is too large")

    def _visit_object(self, node: Mapping[str, Any], depth: int, times: int) -> None:
        if len(node) > MAX_PROPERTIES:
            raise _too_large(f"has an object with {len(node)} keys, and {MAX_PROPERTIES} are allowed")
        if "$ref" in node:
            self._check_reference(node["$ref"])
        _check_choices(node)
        _check_further_properties(node)
        types = node.get("type")
        if isinstance(types, list):
            times *= max(1, len(types))
        for least, most in _PAIRS:
            if least in node or most in node:
                self._add(times * _repetition(node, least, most))
        for name in _BOUNDS:
            if name in node:
                _check_bound(name, node[name])
        _check_order(node, "minimum", "maximum")
        pattern = node.get("pattern")
        if isinstance(pattern, str):
            self._add(times * _pattern_weight(pattern))
        for name, value in node.items():
            if len(name) > MAX_NAME:
                raise _too_large(f"has a name of {len(name)} characters, and {MAX_NAME} are allowed")
            self._add_text(name)
            self._visit(value, depth + 1, times)
        if isinstance(node.get("allOf"), list):
            self._visit_targets(node["allOf"], depth + 1, times)

    def _visit_targets(self, parts: list[Any], depth: int, times: int) -> None:
        """Measure the targets of the references in an ``allOf`` again, because the server writes them out again."""
        for component in components(parts):
            reference = component.get("$ref") if isinstance(component, dict) else None
            if not isinstance(reference, str):
                continue
            if reference in self._written_out:
                raise _invalid("has an allOf with a $ref that leads back to itself")
            self._written_out.append(reference)
            self._visit(self._target(reference), depth, times)
            self._written_out.pop()

    def _check_reference(self, reference: Any) -> None:
        """Refuse a reference that leads out of this schema, or to another reference."""
        if isinstance(reference, dict):
            return  # a property of this name
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise _invalid("has a $ref that does not begin with #/; put its target into the schema itself")
        if len(reference) > MAX_NAME:
            raise _too_large(f"has a $ref of {len(reference)} characters, and {MAX_NAME} are allowed")
        self._references.add(reference)
        target = self._target(reference)
        if not isinstance(target, dict) or isinstance(target.get("$ref"), str):
            raise _invalid("has a $ref whose target is not a schema in it, or is another $ref")

    def _target(self, reference: str) -> Any:
        """Return the target of a reference; None if there is none."""
        target: Any = self._schema
        for part in reference.split("/")[1:]:
            if isinstance(target, dict):
                target = target.get(part)
            elif isinstance(target, list):
                index = digits(part)
                # Only one spelling of a number, so that a schema cannot have many references to one target.
                if index is None or index >= len(target) or part != str(index):
                    return None
                target = target[index]
            else:
                return None
        return target

    def _check_circles(self) -> None:
        """Refuse a rule that begins with itself: a reference that leads to itself through references and choices."""
        state: dict[str, bool] = {}  # whether all beginnings of a reference were visited
        for start in self._references:
            if start in state:
                continue
            state[start] = False
            path = [(start, iter(self._begins_with(start)))]
            while path:
                reference, others = path[-1]
                other = next(others, None)
                if other is None:
                    state[reference] = True
                    path.pop()
                elif other not in state:
                    state[other] = False
                    path.append((other, iter(self._begins_with(other))))
                elif not state[other]:
                    raise _invalid("has a $ref that leads back to itself")

    def _begins_with(self, reference: str) -> list[str]:
        found: list[str] = []
        ahead = [self._target(reference)]
        while ahead:
            node = ahead.pop()
            if not isinstance(node, dict):
                continue
            if isinstance(node.get("$ref"), str):
                found.append(node["$ref"])
            for name in ("anyOf", "oneOf"):
                ahead += node[name] if isinstance(node.get(name), list) else []
        return found

    def _follow_alternatives(self) -> None:
        """Refuse a schema with too many nested alternatives that begin alike, including those behind references."""
        entered: dict[str, int] = {}
        ahead: list[tuple[Any, int]] = [(self._schema, 1)]
        steps = 0
        while ahead:
            node, alike = ahead.pop()
            steps += 1
            if alike > MAX_ALIKE or steps > MAX_STEPS:
                raise _too_large(
                    "has too many alternatives that begin alike; let each begin with a required property of its own"
                )
            if isinstance(node, list):
                ahead += [(item, alike) for item in node]
            elif isinstance(node, dict):
                reference = node.get("$ref")
                # Follow a reference again only with a higher number, so that a circle without a choice ends.
                if isinstance(reference, str) and entered.get(reference, 0) < alike:
                    entered[reference] = alike
                    ahead.append((self._target(reference), alike))
                for name, value in node.items():
                    if name in ("anyOf", "oneOf") and isinstance(value, list):
                        numbers = _alike([self._beginning(option) for option in value])
                        ahead += [(option, alike * number) for option, number in zip(value, numbers)]
                    elif name not in _NO_SCHEMAS:
                        ahead.append((value, alike))

    def _beginning(self, option: Any) -> _Beginning:
        """Return the beginning of an alternative's texts, as far as it distinguishes the alternative from others."""
        if isinstance(option, dict) and isinstance(option.get("$ref"), str):
            option = self._target(option["$ref"])
        if id(option) not in self._beginnings:
            self._beginnings[id(option)] = _beginning_of(option)
        return self._beginnings[id(option)]

    def _add(self, weight: int) -> None:
        self._weight += weight
        if self._weight > MAX_WEIGHT:
            raise _too_large(
                f"would become a grammar of more than {MAX_WEIGHT} parts; use fewer types, and smaller lengths"
            )

    def _add_text(self, text: str) -> None:
        if self._written_out:
            return  # counted where it is
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _invalid("has a text with half of a surrogate pair") from None
        self._text += len(text)
        if self._text > MAX_TEXT:
            raise _too_large(f"has texts of more than {MAX_TEXT} characters")


def _beginning_of(option: Any) -> _Beginning:
    if not isinstance(option, dict) or any(name in option for name in ("anyOf", "oneOf", "allOf")):
        return _Beginning(_ANY)
    kind = option.get("type")
    if "const" in option or "enum" in option or kind in _SCALARS:
        return _Beginning(_SCALAR)
    properties, required = option.get("properties"), option.get("required")
    if kind == "array" or not (kind == "object" or isinstance(properties, dict)):
        return _Beginning("[" if kind == "array" else _ANY)
    if not isinstance(properties, dict) or not properties or not isinstance(required, list):
        return _Beginning("{")
    first, described = next(iter(properties.items()))
    if first not in required:
        return _Beginning("{")
    value = described.get("const", described.get("enum")) if isinstance(described, dict) else None
    return _Beginning("{", f"{first!r}: {value!r}")


def _alike(beginnings: list[_Beginning]) -> list[int]:
    """Return for each alternative how many of the alternatives the runner would follow at once, at least 1.

    The text of a scalar differs from all others. An unknown beginning is like all others but scalars. Beginnings with
    the same bracket are alike, unless both have details that differ.
    """
    every = Counter(beginnings)
    kinds = Counter(beginning.kind for beginning in beginnings)

    def number(beginning: _Beginning) -> int:
        kind = beginning.kind
        if kind == _SCALAR:
            return 1
        if kind == _ANY:
            return len(beginnings) - kinds[_SCALAR]
        if not beginning.detail:
            return kinds[kind] + kinds[_ANY]
        return every[beginning] + every[_Beginning(kind)] + kinds[_ANY]

    return [number(beginning) for beginning in beginnings]


def _check_choices(node: Mapping[str, Any]) -> None:
    if any(node.get(name) == [] for name in ("anyOf", "oneOf", "type")):
        raise _invalid("has an empty choice")
    types = node.get("type")
    if not isinstance(types, list):
        return
    if any(isinstance(name, (list, dict)) for name in types):
        raise _invalid("has a list of types with a value that is not a type")
    if len({str(name) for name in types}) < len(types):
        raise _invalid("has a list of types with a repeated type")


def _check_further_properties(node: Mapping[str, Any]) -> None:
    """Refuse names that Ollama cannot exclude from further properties, because it writes them unescaped."""
    further = node.get("additionalProperties")
    properties = node.get("properties")
    if not isinstance(properties, dict) or not (further is True or isinstance(further, dict)):
        return
    if any(_WORD.fullmatch(name) is None for name in properties):
        raise _invalid("has additionalProperties, and names with characters other than A-Z, a-z, 0-9 and _")


def _repetition(node: Mapping[str, Any], least: str, most: str) -> int:
    """Return the number of parts that a limit of length has in the grammar."""
    found: list[Optional[int]] = []
    for name in (least, most):
        value = node.get(name)
        if isinstance(value, dict):
            return 0  # a property of this name
        number = None if value is None else whole(value)
        if value is not None and (number is None or not 0 <= number <= MAX_REPETITION):
            raise RefusedFieldError("format", f"has a {name} that is not from 0 to {MAX_REPETITION}", too_large=True)
        found.append(number)
    low, high = found
    if low is not None and high is not None and low > high:
        raise _invalid(f"has a {least} of {low} above its {most} of {high}")
    return max(low or 0, high or 0)


def _check_bound(name: str, value: Any) -> None:
    if isinstance(value, (bool, dict)):
        return  # the form of older schemas, or a property of this name
    number = finite(value)
    if number is None or abs(number) > MAX_BOUND:
        raise _invalid(f"has a {name} that is not a number of at most 15 digits")


def _check_order(node: Mapping[str, Any], least: str, most: str) -> None:
    low, high = finite(node.get(least)), finite(node.get(most))
    if low is not None and high is not None and low > high:
        raise _invalid(f"has a {least} above its {most}")


def _pattern_weight(pattern: str) -> int:
    try:
        return repetitions(pattern, MAX_REPETITION)
    except InvalidPatternError as error:
        raise _invalid(f"has a pattern that {error}") from error


def _too_large(problem: str) -> RefusedFieldError:
    return RefusedFieldError("format", problem, too_large=True)


def _invalid(problem: str) -> RefusedFieldError:
    return RefusedFieldError("format", problem)
