# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A request that is passed to Ollama unchanged, and its answer.

The dialect is ``dialects/carried.py``; ``_ollama/carried_paths.py`` lists the paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CarriedRequest:
    """A request in the format of its client.

    :ivar path: one of ``CARRIED_PATHS``.
    :ivar body: the bytes of the body.
    :ivar document: the JSON object of the body.
    :ivar stream: whether the client wants the answer in pieces.
    """

    path: str
    body: bytes
    document: Mapping[str, Any]
    stream: bool


class CarriedAnswer(dict[str, Any]):
    """An answer as Ollama sent it. As a mapping, it has the token counts under the names of Ollama's API.

    :ivar status: the HTTP status.
    :ivar content_type: as Ollama sent it.
    :ivar body: the bytes, without the pieces that were sent before.
    :ivar estimated: whether the token counts are estimates.
    :ivar streamed: whether the whole body was sent in pieces before.
    """

    def __init__(
        self, status: int, content_type: str, body: bytes, tokens: tuple[int, int, bool], *, streamed: bool = False
    ) -> None:
        super().__init__(prompt_eval_count=tokens[0], eval_count=tokens[1])
        self.status = status
        self.content_type = content_type
        self.body = body
        self.estimated = tokens[2]
        self.streamed = streamed
