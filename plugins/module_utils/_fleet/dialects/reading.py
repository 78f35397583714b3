# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The fields that all dialects share. Requesters of different versions put the same field in different places.

``reply_to`` and ``correlation_id`` come from the property, else from the body, else from a header (LegionIO before
legion-transport 1.4.23 could not set the property reply_to). ``model`` and ``request_type`` come from the body, else
from a header, else from the lane. A value of a wrong type counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..._ollama.option_ranges import RefusedFieldError
from ..._ollama.request_fields import passed_on
from ..lanes import Lane
from ..messages import Failure, Message, short_string

#: The fields of a request's body that are for the fleet, not for Ollama.
ENVELOPE = frozenset(
    [
        "request_type",
        "model",
        "provider",
        "provider_instance",
        "reply_to",
        "correlation_id",
        "fleet_correlation_id",
        "message_id",
        "message_context",
        "request_id",
        "idempotency_key",
        "protocol_version",
        "operation",
        "stream",
        "text",
        "routing",
        "caller",
        "agent",
        "identity",
        "billing",
        "metadata",
        "classification",
        "tracing",
        "trace_context",
        "signed_token",
        "expires_at",
        "timeout_seconds",
    ]
)

#: The most characters of a correlation id. The body repeats an id that is too long for the property (255 bytes).
MAX_CORRELATION_ID = 4096


@dataclass(frozen=True)
class Envelope:
    """The fields that every dialect reads from a request."""

    reply_to: Optional[str]
    correlation_id: Optional[str]
    request_type: str
    model: str
    message_context: Mapping[str, Any]
    contradictions: tuple[str, ...]
    failure: Optional[Failure]


def envelope(message: Message, document: Mapping[str, Any], lane: Lane) -> Envelope:
    """Find the fields of a request in its properties, body and headers."""
    headers = message.headers
    asked = _text(document.get("model")) or _text(headers.get("x-legion-llm-model"))
    failure = None
    if asked is not None and not lane.names(asked):
        # Otherwise any requester could make the node load or fetch any model.
        failure = Failure("model_not_loaded", f"this lane serves the model {lane.model}, not {asked[:200]}")
    correlation_id = message.properties.correlation_id or _first_id(
        document.get("correlation_id"), headers.get("correlation_id"), headers.get("x-legion-correlation-id")
    )
    if correlation_id is not None and len(correlation_id) > MAX_CORRELATION_ID:
        failure = Failure(
            "unsupported_type",
            f"the correlation id has {len(correlation_id)} characters, and {MAX_CORRELATION_ID} are allowed",
        )
        correlation_id = None
    context = document.get("message_context")
    return Envelope(
        reply_to=_first(message.properties.reply_to, document.get("reply_to"), headers.get("reply_to")),
        correlation_id=correlation_id,
        request_type=_text(document.get("request_type"))
        or _text(headers.get("x-legion-llm-request-type"))
        or lane.type,
        model=lane.model if asked is None or failure else asked,
        message_context=context if isinstance(context, dict) else {},
        contradictions=tuple(
            name
            for name in ("reply_to", "correlation_id")
            if _differ(getattr(message.properties, name), short_string(document.get(name)))
        ),
        failure=failure,
    )


@dataclass(frozen=True)
class Wishes:
    """The fields of a request that are for Ollama.

    :ivar arguments: the fields for Ollama, without the model.
    :ivar ignored: names of fields that are left out.
    :ivar failure: why the request is refused.
    """

    arguments: Mapping[str, Any]
    ignored: tuple[str, ...] = ()
    failure: Optional[Failure] = None


def wishes(call: str, document: Mapping[str, Any]) -> Wishes:
    """Find the fields of a request that are for Ollama."""
    if call == "embed" and document.get("input") is None and document.get("text") is not None:
        document = {**document, "input": document["text"]}
    try:
        return Wishes(*passed_on(call, document, ENVELOPE))
    except RefusedFieldError as error:
        return Wishes({}, failure=refused(error))


def refused(error: RefusedFieldError) -> Failure:
    """Return the failure of a request with a field that is not passed on."""
    return Failure("payload_too_large" if error.too_large else "unsupported_type", str(error).rstrip("."))


def _first(*candidates: Any) -> Optional[str]:
    return next((text for text in map(short_string, candidates) if text is not None), None)


def _first_id(*candidates: Any) -> Optional[str]:
    """Return the first id, of any length; an id may be a number."""
    texts = (str(value) if isinstance(value, int) and not isinstance(value, bool) else value for value in candidates)
    return next(filter(None, map(_text, texts)), None)


def _text(value: Any) -> Optional[str]:
    return value if isinstance(value, str) and value else None


def _differ(one: Optional[str], other: Optional[str]) -> bool:
    return one is not None and other is not None and one != other
