# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Token counts and durations of a call, in one form for chat, generate and embed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Ollama counts with signed integers of 64 bits.
LARGEST = 2**63 - 1

# The names of Ollama's fields (api/types.go, Metrics) by ours. Durations are in nanoseconds on both sides.
_FIELDS = {
    "input_tokens": "prompt_eval_count",
    "output_tokens": "eval_count",
    "total_duration": "total_duration",
    "load_duration": "load_duration",
    "prompt_eval_duration": "prompt_eval_duration",
    "eval_duration": "eval_duration",
}


def usage_of(response: Mapping[str, Any]) -> dict[str, int]:
    """Return tokens (counts) and durations (nanoseconds) of a complete response.

    A missing field is 0: Ollama omits zeros, and an embedding has no output tokens. An invalid count, such as a text,
    a negative number or a number above :data:`LARGEST`, is 0, too.
    """
    return {ours: counted(response.get(theirs)) for ours, theirs in _FIELDS.items()}


def tokens_of(response: Mapping[str, Any]) -> tuple[int, int]:
    """Return the input tokens and the output tokens of a complete response, as :func:`usage_of` does."""
    return counted(response.get(_FIELDS["input_tokens"])), counted(response.get(_FIELDS["output_tokens"]))


def counted(value: object) -> int:
    """Return a count; 0 for any other value."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
    return int(value) if is_count else 0  # type: ignore[call-overload]
