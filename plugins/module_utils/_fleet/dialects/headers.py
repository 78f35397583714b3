# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Headers of fleet messages. Their names and values are LegionIO's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..._ollama.text import printable
from ..messages import MAX_SHORT_STRING, short_string

#: On every message that legion-transport 1.2.7 or newer sends. Not the version of the fleet protocol.
BASE: Mapping[str, Any] = {"legion_protocol_version": "2.0"}

#: The node that sent a message.
HOSTNAME = "x-legion-hostname"

SCHEMA_VERSION = "x-legion-llm-schema-version"

#: On a reply to a redelivered request: the number of earlier deliveries. The work may have been done twice.
REDELIVERED = "x-legion-fleet-redelivered"

#: On a reply: the fields of the request that did not reach Ollama, because the lane decides them or Ollama has no such
#: fields.
IGNORED = "x-legion-fleet-ignored"

#: On a request: the time, in milliseconds since 1970, after which nobody waits for the answer any more.
DEADLINE = "x-legion-fleet-deadline"

#: On a request: ``delta`` if the requester accepts deltas before the answer.
STREAM = "x-legion-llm-stream"

#: On a delta and on the answer after it: the attempt that made it.
ATTEMPT = "x-legion-fleet-attempt"

#: On a delta: its number in its attempt, from 0.
SEQUENCE = "x-legion-fleet-sequence"

#: On an answer after deltas: the number of deltas of its attempt. Fewer have arrived if some were lost.
DELTAS = "x-legion-fleet-deltas"

#: The most names in :data:`IGNORED`, and the most characters of each name and of the whole header.
MAX_NAMES = 20
MAX_NAME = 64
MAX_IGNORED = 1000

_CONTEXT = {
    "x-legion-llm-conversation-id": "conversation_id",
    "x-legion-llm-message-id": "message_id",
    "x-legion-llm-request-id": "request_id",
}


def llm_headers(model: str, request_type: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers of a typed message."""
    headers = {
        **BASE,
        "x-legion-llm-provider": "ollama",
        "x-legion-llm-model": _header_text(model),
        "x-legion-llm-request-type": _header_text(request_type),
        SCHEMA_VERSION: "1.0.0",
    }
    for header, name in _CONTEXT.items():
        value = short_string(context.get(name))
        if value is not None:
            headers[header] = value
    return headers


def _header_text(value: str) -> str:
    """Return a requester's text for a header: valid UTF-8, and short enough for a frame."""
    return value[:MAX_SHORT_STRING].encode("utf-8", "replace").decode()


def ignored_fields(names: Sequence[str]) -> str:
    """Return the header for the names of fields that did not reach Ollama: the first names, each shortened."""
    shown = [printable(name, MAX_NAME).replace(",", "\\x2c") for name in names[:MAX_NAMES]]
    if len(names) > MAX_NAMES:
        shown.append(f"and {len(names) - MAX_NAMES} more")
    return printable(", ".join(shown), MAX_IGNORED)


def answering_node(headers: Mapping[str, Any]) -> Optional[str]:
    """Return the node that sent an answer; None if the answer does not name it."""
    node = headers.get(HOSTNAME)
    return node if isinstance(node, str) else None
