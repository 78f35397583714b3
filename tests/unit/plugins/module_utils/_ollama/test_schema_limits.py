# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.option_ranges import RefusedFieldError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.schema_limits import checked_format
from hypothesis import given
from hypothesis import strategies as st

TEXT = {"type": "string"}


def record(properties: dict[str, Any], required: bool = True) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **({"required": list(properties)} if required else {})}


def defined(**definitions: Any) -> dict[str, Any]:
    return {"$defs": definitions, "$ref": f"#/$defs/{next(iter(definitions))}"}


def reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def all_of(*names: str) -> dict[str, Any]:
    return {"allOf": [reference(name) for name in names]}


def chained(levels: int, width: int) -> dict[str, Any]:
    """A schema whose definitions have the next one several times."""
    names = [f"d{number}" for number in range(levels)]
    definitions: dict[str, Any] = {
        name: {"properties": {"x": all_of(*[following] * width)}} for name, following in zip(names, names[1:])
    }
    return {"$defs": {**definitions, names[-1]: record({"x": TEXT})}, **all_of(names[0])}


def nested(levels: int, innermost: Any = None) -> Any:
    schema = TEXT if innermost is None else innermost
    for _level in range(levels):
        schema = record({"a": schema})
    return schema


NOTHING_LIKE_A_SCHEMA = record(dict.fromkeys(("minLength", "pattern", "$ref", "anyOf", "minimum", "type"), TEXT))

GOOD = {
    "json": "json",
    "anything": {},
    "record": record({"colour": TEXT, "nanometres": {"type": "number"}}),
    "properties that are called like keywords": NOTHING_LIKE_A_SCHEMA,
    "lengths": {"type": "array", "items": {**TEXT, "minLength": 1, "maxLength": 2000}, "minItems": 3, "maxItems": 3},
    "bounds": {"type": "integer", "minimum": -(10**15) + 1, "exclusiveMaximum": 10**15 - 1},
    "older bounds": {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
    "pattern": {**TEXT, "pattern": "^[A-Z]{3}-[0-9]{4}$"},
    "enum": {"enum": [str(number) for number in range(500)]},
    "types": {"type": ["string", "null"]},
    "hundred optional properties": record({f"p{number}": TEXT for number in range(100)}, required=False),
    "levels": nested(30),
    "list of nodes": defined(
        Node=record({"value": {"type": "integer"}, "next": {"anyOf": [reference("Node"), {"type": "null"}]}}, False)
    ),
    "tree": defined(Node=record({"children": {"type": "array", "items": reference("Node")}}, False)),
    "expression": defined(
        Expression={
            "anyOf": [
                record({"kind": {"const": name}, "left": reference("Expression"), "right": reference("Expression")})
                for name in ("and", "or", "not")
            ]
            + [{"type": "integer"}, TEXT]
        }
    ),
    "records that begin differently": {"anyOf": [record({f"p{number}": TEXT}) for number in range(100)]},
    "further properties": {**record({"a_1": TEXT}), "additionalProperties": TEXT},
    # As older versions of Pydantic write a reference with a description.
    "reference in allOf": {**chained(15, 1), "description": "an answer"},
    "node with an allOf to itself behind a reference": defined(
        Node=record({"next": {"anyOf": [reference("Next"), {"type": "null"}]}}, False), Next=all_of("Node")
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_checked_format_of_what_people_use_is_passed_on(name: str) -> None:
    assert checked_format(GOOD[name]) == GOOD[name]


@pytest.mark.parametrize("value", [None, ""])
def test_checked_format_of_what_ollama_takes_as_not_set_is_none(value: Any) -> None:
    assert checked_format(value) is None


ALIKE = [record({"left": reference("E")})] * 3
CHAIN = {f"A{number}": {"anyOf": [record({"a": reference(f"A{number + 1}")})] * 10} for number in range(6)}

BAD: dict[str, tuple[Any, str]] = {
    "another word": ("yaml", "json"),
    "a list": ([], "json"),
    "true": (True, "json"),
    "a number": (1, "json"),
    # What the runner would write out.
    "long text": ({**TEXT, "minLength": 1_000_000}, "minLength"),
    "very long text": ({**TEXT, "maxLength": 10**400}, "maxLength"),
    "text without sense": ({**TEXT, "minLength": "1"}, "minLength"),
    "negative length": ({**TEXT, "minLength": -1}, "minLength"),
    "least above most": ({**TEXT, "minLength": 5, "maxLength": 3}, "above"),
    "least above most of a list": ({"type": "array", "items": TEXT, "minItems": 5, "maxItems": 3}, "above"),
    "many items": ({"type": "array", "items": TEXT, "minItems": 2001}, "minItems"),
    "many long texts": (record({f"p{number}": {**TEXT, "maxLength": 2000} for number in range(11)}), "parts"),
    "bound of 18 digits": ({"type": "integer", "minimum": 5 * 10**17}, "minimum"),
    "bound without end": ({"type": "integer", "exclusiveMaximum": 10**400}, "exclusiveMaximum"),
    "least bound above most": ({"type": "integer", "minimum": 2, "maximum": 1}, "above"),
    "pattern": ({**TEXT, "pattern": "^(a{100}){100}$"}, "pattern"),
    "pattern that would hang": ({**TEXT, "pattern": "^]$"}, "pattern"),
    # What the server would work on for ever.
    "allOf that doubles with each level": (chained(30, 2), "values|levels"),
    "allOf that doubles with some levels": (chained(12, 2), "5000 values"),
    "lengths behind many allOf": (
        {
            "$defs": {"Text": record({"text": {**TEXT, "maxLength": 2000}})},
            **record({f"p{number}": all_of("Text") for number in range(11)}),
        },
        "parts",
    ),
    "types in a list of types": ({"type": [["object", "array"], ["string", "null"]]}, "not a type"),
    "300 properties": (record({f"p{number}": TEXT for number in range(300)}, required=False), "300 keys"),
    "types in types": (
        {"type": ["object", "array", "string", "null"], "properties": {"a": {"type": ["object"] * 2}}},
        "repeated type",
    ),
    "2000 choices": ({"enum": list(range(2000))}, "2000 values"),
    "many values": ({"enum": [list(range(450))] * 12}, "5000 values"),
    "much text": ({"enum": ["x" * 70_000]}, "65536 characters"),
    "long name": (record({"x" * 300: TEXT}), "300 characters"),
    "100 levels": (nested(50), "levels"),
    # What would end it.
    "another document": ({"$ref": "https://example.com/schema"}, "#/"),
    "a circle": ({"$defs": {"a": {"anyOf": [reference("a"), TEXT]}}, "$ref": "#/$defs/a"}, "leads back to itself"),
    "a long circle": (
        defined(
            a={"anyOf": [reference("b")]}, b={"oneOf": [{"anyOf": [reference("c")]}]}, c={"anyOf": [reference("a")]}
        ),
        "leads back to itself",
    ),
    "an empty choice": ({"anyOf": []}, "empty choice"),
    "no type": ({"type": []}, "empty choice"),
    "names that are written as they are": (
        {"properties": {"a]": TEXT}, "additionalProperties": True},
        "additionalProperties",
    ),
    "a grammar without an end": (
        record({f"q{one}": record({f"p{two}": TEXT for two in range(100)}, False) for one in range(4)}),
        "32000 bytes",
    ),
    "long names": (record({f"{'x' * 200}{number}": TEXT for number in range(60)}, False), "32000 bytes"),
    "nothing": ({"$ref": "#/$defs/gone"}, "not a schema in it"),
    "reference to itself": (
        {"$defs": {"a": reference("a")}, "allOf": [reference("a")]},
        "not a schema in it",
    ),
    "an allOf that is in its own target": (
        {"$defs": {"A": {"properties": {"x": all_of("A")}}}, **all_of("A")},
        "allOf .* leads back to itself",
    ),
    "an allOf that leads back to itself": (
        {"$defs": {"A": {"items": {"anyOf": [{"allOf": [{"anyOf": [reference("B")]}]}]}}, "B": all_of("A")}},
        "allOf .* leads back to itself",
    ),
    "half of a surrogate pair": (defined(**{"\ud800": TEXT}), "surrogate"),
    "an index with a zero before it": ({"anyOf": [TEXT, {"$ref": "#/anyOf/00"}]}, "not a schema in it"),
    "long reference": ({"$ref": "#/" + "x" * 298}, "300 characters"),
    # What the runner would follow all at once.
    "alternatives alike within themselves": (defined(E={"anyOf": ALIKE}), "begin alike"),
    "alternatives without a beginning": (
        defined(E={"oneOf": [record({name: reference("E")}, required=False) for name in "ab"]}),
        "begin alike",
    ),
    "lists alike": (defined(E={"anyOf": [{"type": "array", "items": reference("E")}] * 2}), "begin alike"),
    "a chain of alternatives": (defined(**CHAIN, A6=TEXT), "begin alike"),
    "100 alternatives": ({"anyOf": [record({f"p{number}": TEXT}, False) for number in range(100)]}, "begin alike"),
}


@pytest.mark.parametrize("name", BAD)
def test_checked_format_of_what_would_hurt_is_refused_by_name(name: str) -> None:
    schema, why = BAD[name]
    with pytest.raises(RefusedFieldError, match=why) as caught:
        checked_format(schema)
    assert caught.value.details["field"] == "format"
    assert len(str(caught.value)) < 300


def test_checked_format_of_types_within_types_is_refused() -> None:
    schema: Any = TEXT
    for _level in range(8):
        schema = {"type": ["object", "array", "string", "null", "number", "integer"], "properties": {"a": schema}}
    with pytest.raises(RefusedFieldError, match="parts"):
        checked_format(schema)


DEFINED = ("a", "b", "c")
KEYS = st.sampled_from(
    ["type", "properties", "items", "anyOf", "oneOf", "allOf", "$ref", "$defs", "required", "pattern", "minLength"]
    + ["maxLength", "minItems", "maxItems", "minimum", "maximum", "enum", "const", "format", *DEFINED]
)
REFERENCES = st.sampled_from(DEFINED).map(reference)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["object", "array", "string", "#/$defs/a", "#/properties/a", "#/anyOf/0", "^a{2}$", "^(a|b)$"]),
    REFERENCES,
)
SCHEMAS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=30
)


@given(st.dictionaries(KEYS, SCHEMAS, max_size=6))
def test_checked_format_of_anything_is_taken_or_refused(schema: dict[str, Any]) -> None:
    with suppress(RefusedFieldError):
        assert checked_format(schema) is schema


# Schemas whose references chain: all of them lead to a definition, and all definitions are schemas.
LINKED = st.recursive(
    REFERENCES | st.just(TEXT),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"items": inner}),
        st.dictionaries(st.sampled_from(DEFINED), inner, max_size=3).map(record),
    ),
    max_leaves=8,
)


@given(st.fixed_dictionaries(dict.fromkeys(DEFINED, LINKED)), LINKED)
def test_checked_format_of_references_to_references_is_taken_or_refused(
    definitions: dict[str, Any], schema: dict[str, Any]
) -> None:
    whole = {"$defs": definitions, **schema}
    with suppress(RefusedFieldError):
        assert checked_format(whole) is whole
