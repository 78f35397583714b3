# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests, typed out as LegionIO sends them."""

from __future__ import annotations

import json
from typing import Any, Optional

from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects import dialect_of
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.base import Dialect
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import Lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import (
    Message,
    Properties,
    Request,
    decode,
)

REPLY_TO = "llm.fleet.reply.0123456789abcdef"
CORRELATION_ID = "req_0f7b2c1e-6a5d-4c3b-8f9e-1a2b3c4d5e6f"


def message(body: Any, headers: Optional[dict[str, Any]] = None, **properties: Any) -> Message:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Message(Properties(**properties), headers or {}, content)


def typed(body: dict[str, Any], **properties: Any) -> Message:
    """A request of legion-llm 0.8.33, without the marks that are not needed."""
    return message(
        {"reply_to": REPLY_TO, "correlation_id": CORRELATION_ID, **body},
        **{"type": "llm.fleet.request", "correlation_id": CORRELATION_ID, "reply_to": REPLY_TO, **properties},
    )


def read(sent: Message, lane: Lane) -> tuple[Dialect, Request]:
    document, _problem = decode(sent, 1048576)
    dialect = dialect_of(sent.properties, sent.headers, document)
    return dialect, dialect.read(sent, document, lane)
