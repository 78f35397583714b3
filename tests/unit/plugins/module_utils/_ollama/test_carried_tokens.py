# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens of answers that are carried, in each interface's own words."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import carried_tokens
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.carried_tokens import TokenCounter

EVENTS = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
START = (
    b"event: message_start\n"
    b'data: {"type":"message_start","message":{"role":"assistant","usage":{"input_tokens":9,"output_tokens":0}}}\n\n'
)
DELTA = b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":2}}\n\n'


@pytest.mark.parametrize(
    "answer, tokens",
    [
        (b'{"message":{"content":"x"},"done":true,"prompt_eval_count":3,"eval_count":2}', (3, 2, False)),
        (b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}', (3, 2, False)),
        (b'{"content":[],"usage":{"input_tokens":3,"output_tokens":2}}', (3, 2, False)),
        (b'{"message":{"content":"x"}}\n{"done":true,"prompt_eval_count":3,"eval_count":2}\n', (3, 2, False)),
        (EVENTS + b'data: {"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\ndata: [DONE]\n\n', (3, 2, False)),
        (EVENTS * 4 + b"data: [DONE]\n\n", (0, 4, True)),
        (
            b'event: response.completed\ndata: {"response":{"usage":{"input_tokens":3,"output_tokens":2}}}\n\n',
            (3, 2, False),
        ),
        # Anthropic's interface of an early version has the input in the first event.
        (START + DELTA, (9, 2, True)),
        (START + EVENTS * 3000 + DELTA + b'data: {"type":"message_stop"}\n\n', (9, 2, True)),
        (START + b'data: {"type":"message_delta","usage":{"input_tokens":8,"output_tokens":2}}\n\n', (8, 2, False)),
        (DELTA, (0, 2, True)),
        (b'data: {"type":"message_start","message":[]}\n\n' + DELTA, (0, 2, True)),
        (b'{"embedding":[0.5]}', (0, 0, False)),
        (b'{"usage":{"prompt_tokens":-3,"completion_tokens":true}}', (0, 0, False)),
        (b"\xff\x00 no JSON", (0, 0, True)),
        (b"", (0, 0, True)),
    ],
)
def test_tokens_of_an_answer_in_any_pieces_are_the_same(answer: bytes, tokens: tuple[int, int, bool]) -> None:
    whole, linewise, bytewise = TokenCounter(), TokenCounter(), TokenCounter()
    whole.add(answer)
    for line in answer.splitlines(keepends=True):
        linewise.add(line)
    for number in range(len(answer)):
        bytewise.add(answer[number : number + 1])
    assert whole.tokens() == linewise.tokens() == bytewise.tokens() == tokens


@pytest.mark.parametrize(
    "begun, tokens",
    [
        (b"", (0, 0, True)),
        (EVENTS * 4, (0, 4, True)),
        (b'event: message_start\ndata: {"message":{"usage":{"input_tokens":3}}}\n\nevent: ping\ndata: {', (0, 2, True)),
        (b'{"message":{"content":"data:"}}\n' * 3 + b'{"mess', (0, 3, True)),
        (b'{"message":{"content":"x"}}\n{"done":true,"prompt_eval_count":3,"eval_count":2}\n', (3, 2, False)),
        (EVENTS + b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n', (3, 2, False)),
        (b'{"model":"m","embeddings":[[0.5,', (0, 0, True)),
    ],
)
def test_tokens_so_far_are_those_of_the_events_or_lines(begun: bytes, tokens: tuple[int, int, bool]) -> None:
    whole, bytewise = TokenCounter(), TokenCounter()
    whole.add(begun)
    for number in range(len(begun)):
        bytewise.add(begun[number : number + 1])
    assert whole.tokens_so_far() == bytewise.tokens_so_far() == tokens


def test_tokens_so_far_of_a_long_stream_parse_no_line_without_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """All streams of a gateway break off at the same moment when it loses its broker."""
    counter = TokenCounter()
    for _number in range(1000):
        counter.add(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n')
    parsed: list[bytes] = []
    monkeypatch.setattr(carried_tokens, "read_json", parsed.append)
    assert counter.tokens_so_far() == (0, 1000, True)
    assert parsed == []


def test_tokens_of_a_large_answer_are_found_at_its_end() -> None:
    counter = TokenCounter()
    counter.add(b'{"model":"m","embeddings":[[')
    for _number in range(100_000):
        counter.add(b"0.125,")
    counter.add(b'0.5]],"total_duration":900,"prompt_eval_count":700}')
    assert counter.tokens() == (700, 0, False)


def test_tokens_of_a_long_stream_are_found_at_its_end() -> None:
    counter = TokenCounter()
    for _number in range(3000):
        counter.add(EVENTS)
    counter.add(b'data: {"usage":{"prompt_tokens":7,"completion_tokens":3000}}\n\n')
    assert counter.tokens() == (7, 3000, False)
