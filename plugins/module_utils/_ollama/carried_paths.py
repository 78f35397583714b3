# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The paths of Ollama's HTTP interface whose requests are carried unchanged, and the properties of each path.

Ollama serves three interfaces: its own, OpenAI's and Anthropic's. All carried paths take a POST with a JSON object
that names its model (server/routes.go of v0.24.0). All other paths list, load or change models, and are not carried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Optional

OLLAMA, OPENAI, ANTHROPIC = "ollama", "openai", "anthropic"


@dataclass(frozen=True)
class CarriedPath:
    """A carried path.

    :ivar call: ``chat``, ``generate`` or ``embed``: the type of the lanes for the path.
    :ivar interface: ``ollama``, ``openai`` or ``anthropic``.
    :ivar streams: whether Ollama streams by default; None if it never streams.
    """

    call: str
    interface: str
    streams: Optional[bool]


CARRIED_PATHS: Mapping[str, CarriedPath] = MappingProxyType(
    {
        "/api/chat": CarriedPath("chat", OLLAMA, True),
        "/api/generate": CarriedPath("generate", OLLAMA, True),
        "/api/embed": CarriedPath("embed", OLLAMA, None),
        "/api/embeddings": CarriedPath("embed", OLLAMA, None),
        "/v1/chat/completions": CarriedPath("chat", OPENAI, False),
        "/v1/completions": CarriedPath("generate", OPENAI, False),
        "/v1/embeddings": CarriedPath("embed", OPENAI, None),
        "/v1/responses": CarriedPath("chat", OPENAI, False),
        "/v1/messages": CarriedPath("chat", ANTHROPIC, False),
    }
)


#: The content types of Ollama's streams: one event after the other, and one JSON object after the other.
EVENT_STREAM = "text/event-stream"
_STREAMS = (EVENT_STREAM, "application/x-ndjson")


def is_stream(content_type: str) -> bool:
    """Return whether an answer with this content type is a stream."""
    return content_type.partition(";")[0].strip().lower() in _STREAMS


def asks_for_stream(path: str, document: Mapping[str, Any]) -> bool:
    """Return whether Ollama streams the answer to a request.

    :param path: one of :data:`CARRIED_PATHS`.
    """
    usual = CARRIED_PATHS[path].streams
    asked = document.get("stream")
    return usual is not None and (usual if asked is None else asked is not False)
