# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of protocol versions 2 and 3, letter by letter, and what they are changed into for a test."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.base import Dialect, ReplyIdentity
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import Lane, lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import (
    Message,
    Outcome,
    Properties,
    Reply,
    Request,
)

MESSAGES = Path(__file__).resolve().parents[6] / "lab" / "legionio_messages"

MODEL = "qwen3.5:27b"
CHAT_LANE = lane("chat", MODEL, style="shared", context_window=32768)
EMBED_LANE = lane("embed", MODEL, style="shared")
NODE = ReplyIdentity("gpu-01")


def literal(name: str) -> dict[str, Any]:
    """A message as it was written down, such as ``version2_request``."""
    document: dict[str, Any] = json.loads((MESSAGES / f"{name}.json").read_text())
    return document


def in_seconds(seconds: float) -> str:
    """A moment from now on, as requesters write it."""
    return datetime.fromtimestamp(int(time.time() + seconds), timezone.utc).isoformat().replace("+00:00", "Z")


def current(name: str, **changes: Any) -> dict[str, Any]:
    """A request that has not expired, with some of its fields changed."""
    return {**literal(name), "expires_at": in_seconds(30), **changes}


def message(document: dict[str, Any], **properties: Any) -> Message:
    """The message of a request, with the properties of lex-llm's requester."""
    known: dict[str, Any] = {
        "content_type": "application/json",
        "content_encoding": "identity",
        "delivery_mode": 1,
        **{name: document[name] for name in ("correlation_id", "reply_to") if isinstance(document.get(name), str)},
        "expiration": "30000",
        "message_id": "llm_fleet_req_0f7b2c1e-6a5d-4c3b-8f9e-1a2b3c4d5e6f",
        "timestamp": int(time.time()),
        "type": "llm.fleet.request",
        "app_id": "lex-llm",
        **properties,
    }
    headers = {"legion_protocol_version": "2.0", "x-legion-version": "1.9.43"}
    return Message(Properties(**known), headers, json.dumps(document).encode())


def read(dialect: Dialect, document: dict[str, Any], served: Lane = CHAT_LANE, **properties: Any) -> Request:
    return dialect.read(message(document, **properties), document, served)


def written(dialect: Dialect, request: Request, outcome: Outcome) -> tuple[Reply, dict[str, Any]]:
    reply = dialect.write(request, outcome, NODE)
    body: dict[str, Any] = json.loads(reply.message.body)
    return reply, body


def code_of(request: Request) -> Optional[str]:
    return None if request.failure is None else request.failure.code
