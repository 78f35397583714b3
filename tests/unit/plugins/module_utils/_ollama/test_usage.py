# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.usage import usage_of


def test_a_chat() -> None:
    assert usage_of(
        {
            "message": {"content": "Paris."},
            "done": True,
            "total_duration": 1_600_000_000,
            "load_duration": 400_000_000,
            "prompt_eval_count": 31,
            "prompt_eval_duration": 300_000_000,
            "eval_count": 8,
            "eval_duration": 900_000_000,
        }
    ) == {
        "input_tokens": 31,
        "output_tokens": 8,
        "total_duration": 1_600_000_000,
        "load_duration": 400_000_000,
        "prompt_eval_duration": 300_000_000,
        "eval_duration": 900_000_000,
    }


def test_missing_count_is_zero() -> None:
    usage = usage_of({"embeddings": [[0.1]], "total_duration": 7, "prompt_eval_count": 3})
    assert usage == {
        "input_tokens": 3,
        "output_tokens": 0,
        "total_duration": 7,
        "load_duration": 0,
        "prompt_eval_duration": 0,
        "eval_duration": 0,
    }


def test_only_counts_count() -> None:
    assert set(usage_of({"prompt_eval_count": "3", "eval_count": None, "total_duration": True}).values()) == {0}


@pytest.mark.parametrize("value", [-1, 10**400, 2**63, "7", 7.0, float("nan"), [7]])
def test_usage_of_a_number_that_is_no_count_is_zero(value: object) -> None:
    assert set(usage_of({"prompt_eval_count": value, "eval_count": value, "eval_duration": value}).values()) == {0}
