# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Refusals of protocol versions that this worker does not serve, in a form that their requesters read.

Such requests have the type ``llm.fleet.request`` too, but other arguments, so the typed dialect would serve them
wrongly. Their requesters accept an answer only if it repeats protocol_version, operation and correlation_id. So the
refusal is an error of the typed dialect with these fields, and with the flat fields of a newer error.
"""

from __future__ import annotations

from typing import Any

from ..lanes import Lane
from ..messages import Failure, Message, Outcome, Properties, Reply, Request
from .base import Dialect, Document, Headers, ReplyIdentity
from .protocol.envelope import REPEATED, repeated, sender_of
from .reading import envelope
from .typed import error_body, error_reply


def recognises(_properties: Properties, _headers: Headers, document: Document) -> bool:
    """Return whether the body states a version of the protocol."""
    return document.get("protocol_version") is not None


def read(message: Message, document: Document, lane: Lane) -> Request:
    """Read the sender, and refuse the request."""
    found = envelope(message, document, lane)
    sender = sender_of(message, document, lane, found)
    version = document["protocol_version"]
    return Request(
        request_type=sender.operation,
        call=lane.type,
        model=found.model,
        arguments={},
        reply_to=sender.reply_to,
        correlation_id=sender.correlation_id,
        message_context=found.message_context,
        document={name: document[name] for name in ("protocol_version", *REPEATED) if document.get(name) is not None},
        contradictions=sender.contradictions,
        failure=Failure(
            "unsupported_type",
            f"protocol_version {str(version)[:20]} is not served by this worker (protocol.versions)",
        ),
    )


def write(request: Request, outcome: Outcome, worker: ReplyIdentity) -> Reply:
    """Write the refusal."""
    if not isinstance(outcome, Failure):
        raise ValueError("a request of a newer protocol is never served")
    body: dict[str, Any] = {
        **error_body(request, outcome, worker),
        **repeated(None, request),
        "code": "configuration_error",
        "message": outcome.message,
        "error_class": outcome.code,
        "retryable": False,
        "metadata": {},
    }
    return error_reply(request, worker, body, outcome)


DIALECT = Dialect("versioned", recognises, read, write)
