# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Token counts of an answer that is passed on unchanged.

Ollama's three interfaces report counts in three ways, and a stream has its counts near its end. A stream of OpenAI's
interface has counts only on request (``stream_options``); without them the events are counted, one for each token.
"""

from __future__ import annotations

import re
from typing import Any, Optional

from .json_text import read_json
from .usage import counted

#: Bytes to keep from the end of an answer. The last line of a stream, which has the counts, can be long.
_KEPT = 65536

#: Bytes to keep from the beginning of an answer. The first event of Anthropic's interface has some hundreds.
_KEPT_FIRST = 4096

#: Bytes at the end of a large answer to search for the counts, and the pattern of a count.
_TAIL = 1000
_COUNT = re.compile(rb'"([a-z_]+)"\s*:\s*([0-9]{1,15})\b')

#: The beginning of an event, with the end of the line before.
_EVENT = b"\ndata:"

#: Names of the counts, input before output.
_NAMES = (
    ("prompt_eval_count", "eval_count"),
    ("prompt_tokens", "completion_tokens"),
    ("input_tokens", "output_tokens"),
)


class TokenCounter:
    """Finds the counts in the pieces of one answer."""

    def __init__(self) -> None:
        self._beginning = b""
        self._end = bytearray()
        self._events = self._lines = 0
        #: The last bytes, because a piece may end within "data:". The first line begins an event, too.
        self._rest = b"\n"
        self._size = 0

    def add(self, piece: bytes) -> None:
        """Take the next piece of the answer."""
        text = self._rest + piece
        self._rest = text[1 - len(_EVENT) :]
        self._events += text.count(_EVENT)
        self._lines += piece.count(b"\n")
        self._size += len(piece)
        if len(self._beginning) < _KEPT_FIRST:
            self._beginning += piece[: _KEPT_FIRST - len(self._beginning)]
        self._end += piece
        if len(self._end) > 2 * _KEPT:
            del self._end[: len(self._end) - _KEPT]

    def tokens(self) -> tuple[int, int, bool]:
        """Return input tokens, output tokens, and whether they are an estimate.

        In a stream without counts, each event but the last counts as an output token, and the input tokens are 0. Early
        versions of Ollama report the input of Anthropic's interface only at the beginning of a stream, before the model
        has read it.
        """
        if self._size == len(self._end):
            whole = _object(bytes(self._end))
            if whole is not None:
                return (*_counts(whole), False)
        counts = self._counts_of_lines()
        if counts is not None:
            return counts
        if self._events:
            return 0, max(0, self._events - 1), True
        # A large answer: the counts are at its end.
        named = {name.decode(): int(count) for name, count in _COUNT.findall(bytes(self._end[-_TAIL:]))}
        return (*_counts({**named, "usage": named}), not named)

    def tokens_so_far(self) -> tuple[int, int, bool]:
        """Return the same for a stream that has broken off.

        Without counts, each event or line counts as an output token, and the input tokens are 0.
        """
        return self._counts_of_lines() or (0, self._events or self._lines, True)

    def _counts_of_lines(self) -> Optional[tuple[int, int, bool]]:
        """Return the counts of the last line that has some, and whether they are an estimate; None without counts."""
        for line in reversed(bytes(self._end).splitlines()):
            if _COUNT.search(line) is None:  # parsing each line of a long stream would take 10 ms or more
                continue
            found = _object(line[5:] if line.startswith(b"data:") else line)
            counts = (0, 0) if found is None else _counts(found)
            if found is not None and found.get("type") == "message_delta" and not counts[0] and counts[1]:
                return self._announced_input(), counts[1], True
            if any(counts):
                return (*counts, False)
        return None

    def _announced_input(self) -> int:
        """Return the input tokens in the first event of a stream of Anthropic's interface; 0 if it has none."""
        for line in self._beginning.splitlines():
            found = _object(line[5:]) if line.startswith(b"data:") else None
            if found is not None and found.get("type") == "message_start" and isinstance(found.get("message"), dict):
                return _counts(found["message"])[0]
        return 0


def _object(text: bytes) -> Optional[dict[str, Any]]:
    try:
        found = read_json(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _counts(found: dict[str, Any]) -> tuple[int, int]:
    response = found.get("response")
    for place in (found, found.get("usage"), response.get("usage") if isinstance(response, dict) else None):
        if isinstance(place, dict):
            for names in _NAMES:
                counts = (counted(place.get(names[0])), counted(place.get(names[1])))
                if any(counts):
                    return counts
    return 0, 0
