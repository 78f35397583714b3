# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that are none to what was asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fleet_worker._ollama.api_errors import UnexpectedAnswerError
from fleet_worker.inference.answer_check import check_answer

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
TEXT = {"prompt": "Hello"}
TWO = {"input": ["a", "b"]}


def said(**message: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", **message}, "done": True, "done_reason": "stop"}


@pytest.mark.parametrize(
    "call, asked, result",
    [
        ("chat", CHAT, said(content="Hi")),
        ("chat", CHAT, said(content="", tool_calls=[{"function": {"name": "add"}}])),
        ("chat", CHAT, said(content="", thinking="Hm")),
        ("chat", CHAT, {**said(content=""), "eval_count": 1}),  # the first token ended the answer
        ("chat", CHAT, {**said(content=""), "done_reason": "length"}),
        ("chat", {"messages": []}, {**said(content=""), "done_reason": "load"}),
        ("chat", {}, {**said(content=""), "done_reason": "unload"}),
        ("generate", TEXT, {"response": "Once", "done": True}),
        ("generate", TEXT, {"response": "", "image": "aGk=", "done": True}),
        ("generate", {"prompt": ""}, {"response": "", "done": True, "done_reason": "load"}),
        ("embed", TWO, {"embeddings": [[0.5, 1], [-0.5, 0]]}),
        ("embed", {"input": "a"}, {"embeddings": [[1e308, 1e308]]}),
        ("embed", {"input": ""}, {"embeddings": []}),
        ("embed", {}, {"embeddings": []}),
        ("embed", {"input": "a", "dimensions": 2}, {"embeddings": [[0.5, 0.5]]}),
        ("embed", {"input": "a", "dimensions": 9}, {"embeddings": [[0.5, 0.5]]}),
    ],
)
def test_check_answer_to_what_was_asked_passes(call: str, asked: Any, result: Any) -> None:
    check_answer(call, asked, result)


@pytest.mark.parametrize(
    "call, asked, result",
    [
        ("chat", CHAT, {"done": True}),
        ("chat", CHAT, {"message": None, "done": True}),
        ("chat", CHAT, {"message": "Hi", "done": True}),
        ("chat", CHAT, {"response": "Hi", "done": True}),
        ("chat", CHAT, said()),
        ("chat", CHAT, said(content=None)),
        ("chat", CHAT, said(content="")),
        ("chat", CHAT, {**said(content=""), "eval_count": "7"}),
        ("chat", CHAT, {**said(content=""), "done_reason": "load"}),
        ("chat", CHAT, {**said(content=""), "done_reason": ["stop"]}),
        ("chat", CHAT, said(content=["Hi"])),
        ("chat", CHAT, said(content="Hi", thinking=7)),
        ("chat", CHAT, said(content="Hi", tool_calls={"a": 1})),
        ("chat", CHAT, said(content="Hi", tool_calls=["a"])),
        ("generate", TEXT, {"done": True}),
        ("generate", TEXT, {"response": 7, "done": True}),
        ("generate", TEXT, {"response": "", "done": True, "done_reason": "load"}),
        ("embed", TWO, {}),
        ("embed", TWO, {"embeddings": None}),
        ("embed", TWO, {"embeddings": {}}),
        ("embed", TWO, {"embeddings": [[0.5]]}),
        ("embed", TWO, {"embeddings": [[0.5], [0.5], [0.5]]}),
        ("embed", TWO, {"embeddings": [[0.5], []]}),
        ("embed", TWO, {"embeddings": [[], []]}),
        ("embed", TWO, {"embeddings": [[0.5], 0.5]}),
        ("embed", TWO, {"embeddings": [[0.5], [0.5, 0.5]]}),
        ("embed", TWO, {"embeddings": [[0.5], ["0.5"]]}),
        ("embed", TWO, {"embeddings": [[0.5], [None]]}),
        ("embed", TWO, {"embeddings": [[0.5], [True]]}),
        ("embed", TWO, {"embeddings": [[0.5], [[0.5]]]}),
        ("embed", TWO, {"embeddings": [[0.5], [float("nan")]]}),
        ("embed", TWO, {"embeddings": [[0.5, 0.5], json.loads("[1e999, -1e999]")]}),
        ("embed", TWO, {"embeddings": [[0.5], [10**400]]}),
        ("embed", {"input": ""}, {"embeddings": [[0.5]]}),
        ("embed", {"input": "a", "dimensions": 1}, {"embeddings": [[0.5, 0.5]]}),
    ],
)
def test_check_answer_to_something_else_is_refused(call: str, asked: Any, result: Any) -> None:
    with pytest.raises(UnexpectedAnswerError, match=r"Ollama's answer (has|is empty)"):
        check_answer(call, asked, result)
