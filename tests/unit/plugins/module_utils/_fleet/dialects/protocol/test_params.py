# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ollama gets of the params of a request."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.protocol.params import ollama_fields
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.option_ranges import RefusedFieldError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.request_fields import passed_on

USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def chat(**params: Any) -> dict[str, Any]:
    """What Ollama gets, checked as every request is."""
    fields, _left_out = ollama_fields("chat", {"messages": [USER], **params})
    return passed_on("chat", fields)[0]


def messages(*given: Any, **params: Any) -> list[Any]:
    found: list[Any] = chat(messages=list(given), **params)["messages"]
    return found


# Options of the model.


def test_options_are_found_in_all_three_places() -> None:
    found = chat(
        temperature=0.5,
        seed=7,
        max_tokens=100,
        options={"temperature": 0.9, "top_p": 0.8, "num_predict": 50},
        params={"seed": 8, "top_k": 3, "options": {"repeat_penalty": 1.1}, "keep_alive": "10m"},
    )
    assert found["options"] == {
        "temperature": 0.5,
        "top_p": 0.8,
        "num_predict": 100,
        "seed": 8,
        "top_k": 3,
        "repeat_penalty": 1.1,
    }
    assert found["keep_alive"] == "10m"


@pytest.mark.parametrize(
    "given, name, expected",
    [
        # The keys of params itself override those of params.options ...
        ({"options": {"num_predict": 5}, "max_tokens": 100}, "num_predict", 100),
        ({"options": {"max_tokens": 5}, "num_predict": 100}, "num_predict", 100),
        ({"options": {"stop": ["b"]}, "stop_sequences": ["a"]}, "stop", ["a"]),
        ({"options": {"think": False}, "thinking": {"effort": "low"}}, "think", "low"),
        ({"options": {"schema": SCHEMA}, "response_format": "json_object"}, "format", "json"),
        ({"options": {"format": "json"}, "response_format": {"type": "text"}}, "format", None),
        # ... and those of params.params override both.
        ({"max_tokens": 100, "params": {"num_predict": 7}}, "num_predict", 7),
        ({"max_tokens": 100, "params": {"options": {"num_predict": 7}}}, "num_predict", 7),
        ({"stop_sequences": ["a"], "params": {"stop": ["b"]}}, "stop", ["b"]),
        ({"stop": ["a"], "params": {"stop_sequences": ["b"]}}, "stop", ["b"]),
        ({"think": False, "params": {"thinking": True}}, "think", True),
        ({"schema": SCHEMA, "params": {"format": "json"}}, "format", "json"),
        # In one place, the default of OpenAI's interface does not override Ollama's own field.
        ({"format": "json", "response_format": {"type": "text"}}, "format", "json"),
        # A null counts as absent.
        ({"max_tokens": 100, "params": {"num_predict": None, "options": {"num_predict": None}}}, "num_predict", 100),
        ({"schema": SCHEMA, "params": {"response_format": None}}, "format", SCHEMA),
    ],
)
def test_a_place_overrides_another_whatever_each_calls_the_field(
    given: dict[str, Any], name: str, expected: Any
) -> None:
    found = chat(**given)
    assert found.get("options", found).get(name) == expected


def test_embed_takes_the_text_of_the_params_before_the_input_of_its_options() -> None:
    fields, _left_out = ollama_fields("embed", {"options": {"input": "a"}, "text": "b"})
    assert passed_on("embed", fields) == ({"input": "b"}, ())


@pytest.mark.parametrize(
    "given, name, value",
    [
        ({"max_tokens": 5}, "num_predict", 5),
        ({"stop": ["x"]}, "stop", ["x"]),
        ({"stop_sequences": ["x"]}, "stop", ["x"]),
        ({"frequency_penalty": 0.1}, "frequency_penalty", 0.1),
        ({"presence_penalty": 0.1}, "presence_penalty", 0.1),
        ({"params": {"top_p": 0.9}}, "top_p", 0.9),
    ],
)
def test_options_have_ollamas_names(given: dict[str, Any], name: str, value: Any) -> None:
    assert chat(**given)["options"] == {name: value}


def test_a_null_counts_as_absent() -> None:
    assert chat(temperature=None, tools=None, thinking=None, schema=None, options=None, params=None) == {
        "messages": [USER]
    }


def test_field_for_the_requester_is_not_left_out() -> None:
    given = {"headers": {"a": "b"}, "offering_id": "x", "offering_metadata": {"limits": {}}, "model": "m"}
    fields, left_out = ollama_fields("chat", {"messages": [USER], **given})
    assert (passed_on("chat", fields), left_out) == (({"messages": [USER]}, ()), ())


def test_param_without_a_field_of_ollama_is_left_out() -> None:
    fields, left_out = ollama_fields(
        "chat",
        {"messages": [], "tool_prefs": {"choice": "required", "calls": "one"}, "thinking": {"budget": 9}, "mood": "x"},
    )
    assert left_out == ("thinking.budget", "tool_prefs.calls", "tool_prefs.choice")
    assert passed_on("chat", fields)[1] == ("mood",)


@pytest.mark.parametrize("place", ["options", "params", "tool_prefs"])
def test_a_place_that_is_no_object_is_refused(place: str) -> None:
    with pytest.raises(RefusedFieldError, match=place):
        chat(**{place: [1]})


# Thinking and format.


@pytest.mark.parametrize(
    "thinking, think",
    [
        (True, True),
        (False, False),
        ("high", "high"),
        ({"effort": "low", "budget": 100}, "low"),
        ({"enabled": True, "budget_tokens": 100}, True),
        ({"enabled": False, "effort": "high"}, False),
        ({"budget": 100}, True),
        ({"enabled": True, "effort": None}, True),
    ],
)
def test_thinking_is_what_ollama_calls_it(thinking: Any, think: Any) -> None:
    assert chat(thinking=thinking)["think"] == think


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"schema": SCHEMA}, SCHEMA),
        ({"schema": {"schema": SCHEMA}}, SCHEMA),
        ({"schema": {"name": "x", "strict": True, "schema": SCHEMA}}, SCHEMA),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}, SCHEMA),
        ({"response_format": {"type": "json_object"}}, "json"),
        ({"response_format": "json_object"}, "json"),
        ({"response_format": {"type": "text"}}, None),
        ({"format": "json"}, "json"),
    ],
)
def test_a_schema_is_the_format(given: dict[str, Any], expected: Any) -> None:
    assert chat(**given).get("format") == expected


# Tools.

TOOL = {"name": "weather", "description": "Now", "parameters": SCHEMA}
OLLAMAS = {"type": "function", "function": {"name": "weather", "description": "Now", "parameters": SCHEMA}}


@pytest.mark.parametrize(
    "tools",
    [{"weather": TOOL}, [TOOL], [OLLAMAS], {"weather": {"description": "Now", "input_schema": SCHEMA}}],
    ids=["object", "list", "Ollama's own", "name as key alone"],
)
def test_tools_may_be_an_object_or_a_list(tools: Any) -> None:
    assert chat(tools=tools)["tools"] == [OLLAMAS]


def test_a_tool_without_parameters_takes_none() -> None:
    assert chat(tools={"now": {"name": "now"}})["tools"][0]["function"] == {
        "name": "now",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
    }


@pytest.mark.parametrize("tools", ["weather", 7, [7], [{}], {"a": 7}, {"a": {"parameters": 7}}])
def test_tools_that_are_none_are_refused(tools: Any) -> None:
    with pytest.raises(RefusedFieldError, match="tool"):
        chat(tools=tools)


@pytest.mark.parametrize(
    "choice, names",
    [("auto", ["a", "b"]), ("none", None), ("required", ["a", "b"]), ("b", ["b"]), ("c", ["a", "b"])],
)
def test_a_choice_of_tools_is_followed_as_far_as_ollama_can(choice: str, names: Any) -> None:
    found = chat(tools={"a": {"name": "a"}, "b": {"name": "b"}}, tool_prefs={"choice": choice})
    assert found.get("tools") is None if names is None else [t["function"]["name"] for t in found["tools"]] == names


# Messages.


def test_canonical_messages_lose_what_ollama_has_no_field_for() -> None:
    message = {
        "id": "msg_0123456789abcdef01234567",
        "role": "user",
        "content": [{"type": "text", "text": "Hello", "metadata": {}}, {"type": "text", "text": " there"}],
        "status": "created",
        "version": 1,
        "timestamp": "2026-08-21 10:00:00 UTC",
        "metadata": {},
    }
    fields, left_out = ollama_fields("chat", {"messages": [message]})
    assert passed_on("chat", fields) == ({"messages": [{"role": "user", "content": "Hello there"}]}, ())
    assert left_out == ()


@pytest.mark.parametrize(
    "system, expected",
    [("Be brief.", "Be brief."), ([{"type": "text", "text": "Be"}, {"type": "text", "text": " brief."}], "Be brief.")],
)
def test_a_system_text_goes_before_the_conversation(system: Any, expected: str) -> None:
    assert messages(USER, system=system) == [{"role": "system", "content": expected}, USER]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "data": PIXEL, "media_type": "image/png", "source_type": "base64"},
        {"type": "image", "source": {"type": "base64", "data": PIXEL}},
    ],
)
def test_an_image_block_is_an_image(block: dict[str, Any]) -> None:
    content = [{"type": "text", "text": "What is it?"}, block]
    assert messages({"role": "user", "content": content}) == [
        {"role": "user", "content": "What is it?", "images": [PIXEL]}
    ]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "data": "https://example.com/a.png", "source_type": "url"},
        {"type": "image"},
        {"type": "video", "data": "AAAA"},
        {"type": "text"},
        {"data": "AAAA"},
        7,
    ],
)
def test_a_block_that_ollama_cannot_be_given_is_refused(block: Any) -> None:
    with pytest.raises(RefusedFieldError, match=r"messages\.content"):
        messages({"role": "user", "content": [block]})


CALL = {"id": "call_1", "name": "weather", "arguments": {"city": "Oslo"}}
OLLAMAS_CALL = {"id": "call_1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}


@pytest.mark.parametrize(
    "calls",
    [
        [CALL],
        {"weather": CALL},
        [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}],
    ],
    ids=["canonical", "object by name", "OpenAI's"],
)
def test_a_call_of_a_tool_and_its_result_are_ollamas(calls: Any) -> None:
    asked = {"role": "assistant", "content": None, "tool_calls": calls}
    told = {"role": "tool", "content": "-3 degrees", "tool_call_id": "call_1"}
    assert messages(asked, told) == [
        {"role": "assistant", "content": "", "tool_calls": [OLLAMAS_CALL]},
        {"role": "tool", "content": "-3 degrees", "tool_call_id": "call_1", "tool_name": "weather"},
    ]


def test_calls_and_results_in_blocks_are_messages() -> None:
    asked = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "text": "Oslo is north."},
            {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Oslo"}},
        ],
    }
    told = {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "-3 degrees"}]},
            {"type": "text", "text": "And?"},
        ],
    }
    assert messages(asked, told) == [
        {"role": "assistant", "content": "", "thinking": "Oslo is north.", "tool_calls": [OLLAMAS_CALL]},
        {"role": "tool", "content": "-3 degrees", "tool_call_id": "call_1", "tool_name": "weather"},
        {"role": "user", "content": "And?"},
    ]


@pytest.mark.parametrize(
    "calls", ["x", [7], [{}], [{"name": "a", "arguments": "{"}], [{"name": "a", "arguments": "[" * 100_000}]]
)
def test_calls_that_are_none_are_refused(calls: Any) -> None:
    with pytest.raises(RefusedFieldError, match="tool_calls"):
        messages({"role": "assistant", "content": "", "tool_calls": calls})


@pytest.mark.parametrize("given", ["Hi", 7, {"role": "user"}])
def test_messages_that_are_no_list_are_refused(given: Any) -> None:
    with pytest.raises(RefusedFieldError, match="messages"):
        chat(messages=given)


# The other operations.


def test_embed_takes_text_or_input_and_dimensions() -> None:
    for name in ("text", "input"):
        fields, _left_out = ollama_fields("embed", {name: ["a", "b"], "dimensions": 64})
        assert passed_on("embed", fields) == ({"input": ["a", "b"], "dimensions": 64}, ())


def test_count_tokens_asks_for_one_token_of_the_same_prompt() -> None:
    fields, _left_out = ollama_fields(
        "count_tokens", {"messages": [USER], "schema": SCHEMA, "max_tokens": 100, "tools": [TOOL], "temperature": 1}
    )
    assert fields == {
        "messages": [USER],
        "tools": [OLLAMAS],
        "truncate": False,
        "options": {"num_predict": 1, "temperature": 1},
    }
