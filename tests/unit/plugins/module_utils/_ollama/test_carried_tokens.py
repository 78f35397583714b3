# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens of answers that are carried, in each interface's own words."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.carried_tokens import TokenCounter

EVENTS = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


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
        (b'{"embedding":[0.5]}', (0, 0, False)),
        (b'{"usage":{"prompt_tokens":-3,"completion_tokens":true}}', (0, 0, False)),
        (b"\xff\x00 no JSON", (0, 0, True)),
        (b"", (0, 0, True)),
    ],
)
def test_tokens_of_an_answer_in_any_pieces_are_the_same(answer: bytes, tokens: tuple[int, int, bool]) -> None:
    whole, bytewise = TokenCounter(), TokenCounter()
    whole.add(answer)
    for line in answer.splitlines(keepends=True):
        bytewise.add(line)
    assert whole.tokens() == tokens
    assert bytewise.tokens() == tokens


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
