# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The messages that protocol versions 2 and 3 share: their properties and headers, and the errors.

Deliberate differences from lex-llm 0.7.6: ``app_id`` is our own, and the node is named in a header.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from ...messages import APP_ID, Failure, Message, Properties, Reply, Request, encode, property_text
from ..base import ReplyIdentity
from ..headers import BASE, HOSTNAME
from .envelope import repeated

REQUEST = "llm.fleet.request"
RESPONSE = "llm.fleet.response"
ERROR = "llm.fleet.error"

#: Prefixes of message ids.
_PREFIXES = {RESPONSE: "llm_fleet_res", ERROR: "llm_fleet_err", REQUEST: "llm_fleet_req"}

#: The class of LegionIO's exception for each code of an error.
_CLASSES = {
    "configuration_error": "ConfigurationError",
    "policy_error": "PolicyError",
    "contract_error": "ContractError",
    "provider_error": "ProviderError",
}


def message_id(kind: str) -> str:
    """Return a new id for a message of a type."""
    return f"{_PREFIXES[kind]}_{uuid.uuid4()}"


def reply(request: Request, worker: ReplyIdentity, kind: str, body: Mapping[str, Any]) -> Reply:
    """Return an answer of a type, with its body."""
    properties = Properties(
        content_type="application/json",
        content_encoding="identity",
        # Nobody reads an answer after a restart of the broker: reply queues do not survive one.
        delivery_mode=1,
        priority=0,
        correlation_id=property_text(request.correlation_id),
        reply_to=request.reply_to,
        message_id=message_id(kind),
        timestamp=int(time.time()),
        type=kind,
        app_id=APP_ID,
    )
    return Reply("", request.reply_to or "", Message(properties, {**BASE, HOSTNAME: worker.node}, encode(body)))


def error(
    version: int, request: Request, worker: ReplyIdentity, failure: Failure, code: str, *, retryable: bool
) -> Reply:
    """Return an error.

    :param code: the protocol's code.
    """
    body = {
        **repeated(version, request),
        "code": code,
        "message": failure.message,
        "error_class": "ArgumentError" if failure.code == "invalid_envelope" else _CLASSES[code],
        "retryable": retryable,
        "metadata": {},
    }
    return reply(request, worker, ERROR, body)
