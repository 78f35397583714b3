# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes two requests turns of one conversation."""

from __future__ import annotations

from typing import Any

import pytest
from fleet_gateway.domain.conversations import OPENING, conversation_of

USER = {"role": "user", "content": "What is a lighthouse?"}
SYSTEM = {"role": "system", "content": "Be brief."}
ANSWER = {"role": "assistant", "content": "A tower."}
MORE = {"role": "user", "content": "Who built the first?"}


def of(body: dict[str, Any], path: str = "/api/chat", key: str = "alice", **headers: str) -> Any:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return conversation_of(path, named, {"model": "m", **body}, key)


@pytest.mark.parametrize(
    "path, first, later",
    [
        ("/api/chat", {"messages": [USER]}, {"messages": [USER, ANSWER, MORE], "stream": True}),
        ("/v1/chat/completions", {"messages": [SYSTEM, USER]}, {"messages": [SYSTEM, USER, ANSWER, MORE]}),
        (
            "/v1/messages",
            {"system": "Be brief.", "messages": [USER]},
            {"system": "Be brief.", "messages": [USER, ANSWER, MORE], "max_tokens": 5},
        ),
        (
            "/v1/responses",
            {"instructions": "Be brief.", "input": [USER]},
            {"instructions": "Be brief.", "input": [USER, ANSWER, MORE]},
        ),
        ("/v1/completions", {"prompt": "a", "user": "u-1"}, {"prompt": "b", "user": "u-1"}),
        (
            "/v1/chat/completions",
            {"messages": [USER], "prompt_cache_key": "k"},
            {"messages": [MORE], "user": "x", "prompt_cache_key": "k"},
        ),
    ],
)
def test_conversation_of_later_turns_is_that_of_the_first(path: str, first: Any, later: Any) -> None:
    assert of(first, path) is not None
    assert of(first, path) == of(later, path)


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [MORE]},
        {"messages": [SYSTEM, USER]},
        {"system": "Be brief.", "messages": [USER]},
        {"messages": [USER], "user": "u-1"},
        {"messages": [{**USER, "images": ["aGk="]}]},
        {"model": "other", "messages": [USER]},
    ],
)
def test_conversation_of_another_beginning_is_another(other: dict[str, Any]) -> None:
    assert of(other) not in (None, of({"messages": [USER]}))


def test_conversation_of_another_key_is_another() -> None:
    assert of({"messages": [USER]}, key="bob") != of({"messages": [USER]})


def test_conversation_that_a_header_names_is_one_whatever_is_said() -> None:
    named = of({"messages": [USER]}, x_session_id="s-1")
    assert named == of({"messages": [MORE], "user": "u-1"}, x_session_id="s-1")
    assert named != of({"messages": [USER]}, x_session_id="s-2")
    assert of({"messages": [USER]}, x_openwebui_chat_id="s-1") == named


@pytest.mark.parametrize(
    "path, body",
    [
        ("/api/embed", {"input": "text", "user": "u-1"}),
        ("/api/generate", {"prompt": "Once"}),
        ("/api/chat", {"messages": []}),
        ("/api/chat", {"messages": {"role": "user"}}),
        ("/api/chat", {"messages": 7, "user": 5}),
    ],
)
def test_conversation_of_a_request_by_itself_is_none(path: str, body: dict[str, Any]) -> None:
    assert of(body, path) is None


def test_conversation_of_odd_messages_is_found() -> None:
    deep: Any = []
    for _level in range(100_000):
        deep = [deep]
    for messages in ([None], ["text"], [{"role": ["x"]}], [{"role": "user", "content": deep}], [{"content": "\ud800"}]):
        assert of({"messages": messages}) is not None


def test_conversation_that_differs_after_the_opening_is_the_same() -> None:
    long = "x" * OPENING
    assert of({"messages": [{"role": "user", "content": long + "a"}]}) == of(
        {"messages": [{"role": "user", "content": long + "b"}]}
    )
