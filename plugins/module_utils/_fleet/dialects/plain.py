# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The dialect of lex-ollama 0.3.1: no marks, one shape for every answer.

Deliberate differences from 0.3.1: the answer goes to the default exchange (0.3.1 published to the exchange ``agent``,
to which no reply queue is bound), failures carry an ``error`` (0.3.1 dropped its text), and the node is named in a
header.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from typing import Any

from ..._ollama.text import printable
from ..._ollama.usage import counted, usage_of
from ..errors import FleetAnswerError, UnreadableAnswerError
from ..lanes import Lane
from ..messages import (
    APP_ID,
    Answer,
    Failure,
    Message,
    Outcome,
    Properties,
    Question,
    Reply,
    Request,
    decode,
    encode,
    property_text,
)
from .base import Dialect, Document, Headers, ReplyIdentity, reply_fields
from .headers import HOSTNAME, answering_node
from .reading import envelope, wishes


def recognises(_properties: Properties, _headers: Headers, _document: Document) -> bool:
    """Return True: requests of 0.3.1 have no mark."""
    return True


def read(message: Message, document: Document, lane: Lane) -> Request:
    """Read a request. ``stream`` is ignored, and an unknown type is served as chat, as 0.3.1 did."""
    found = envelope(message, document, lane)
    call = found.request_type if found.request_type in ("embed", "generate") else "chat"
    wanted = wishes(call, document)
    return Request(
        request_type=found.request_type,
        call=call,
        model=found.model,
        arguments=wanted.arguments,
        ignored=("stream", *wanted.ignored) if document.get("stream") is True else wanted.ignored,
        reply_to=found.reply_to,
        correlation_id=found.correlation_id,
        message_context=found.message_context,
        contradictions=found.contradictions,
        failure=found.failure or wanted.failure,
    )


def write(request: Request, outcome: Outcome, worker: ReplyIdentity) -> Reply:
    """Write the answer: the property ``type`` is ``task``, and ``status`` is an HTTP status."""
    body: dict[str, Any] = {"correlation_id": request.correlation_id, "result": None, "usage": None}
    body.update(model=request.model, provider="ollama")
    if isinstance(outcome, Failure):
        body["status"] = outcome.status
        body["error"] = {"code": outcome.code, "message": outcome.message, "retriable": outcome.retriable}
    else:
        body["status"] = 200
        body["result"] = outcome.result
        if request.call != "embed":
            body["usage"] = usage_of(outcome.result)
    properties = Properties(
        content_type="application/json",
        priority=0,
        correlation_id=property_text(request.correlation_id),
        message_id=f"resp_{uuid.uuid4()}",
        type="task",
        app_id=APP_ID,
    )
    return Reply(
        worker.legacy_exchange or "",
        request.reply_to or "",
        Message(properties, {HOSTNAME: worker.node}, encode(body)),
    )


def ask(question: Question, correlation_id: str, reply_to: str) -> Message:
    """Write a request. Reply queue and correlation id are in the body, where 0.3.1 looks, and in the properties."""
    body = {
        **question.arguments,
        "request_type": question.call,
        "model": question.model,
        **reply_fields(reply_to),
        "correlation_id": correlation_id,
    }
    properties = Properties(
        content_type="application/json",
        delivery_mode=1,
        priority=question.priority,
        correlation_id=correlation_id,
        reply_to=reply_to,
        expiration=str(math.ceil(question.seconds * 1000)),
        message_id=f"req_{uuid.uuid4()}",
        timestamp=int(time.time()),
        app_id=APP_ID,
    )
    return Message(properties, {}, encode(body))


def understand(message: Message) -> Answer:
    """Read an answer.

    :raises FleetAnswerError: if the answer is an error.
    :raises UnreadableAnswerError: if the message is not an answer.
    """
    document, problem = decode(message, limit=len(message.body))
    status = document.get("status")
    if problem is not None or not isinstance(status, int):
        raise UnreadableAnswerError(f"The answer is not one of the dialect 0.3.1: {problem and problem.message}")
    node = answering_node(message.headers)
    if not 200 <= status < 300:
        error = document.get("error")
        known: Mapping[str, Any] = error if isinstance(error, dict) else {}
        reason = known.get("message", "its answer does not say why")
        raise FleetAnswerError(
            f"The worker {printable(node or 'that answered')} failed with status {status}: {printable(reason, 500)}",
            fleet_code=str(known.get("code", "inference_failed")),
            retriable=bool(known.get("retriable", True)),
            status=status,
            node=node,
        )
    result = document.get("result")
    usage = document.get("usage")
    result = result if isinstance(result, dict) else {}
    usage = usage if isinstance(usage, dict) else usage_of(result)
    answered = result.get("message")
    answered = answered if isinstance(answered, dict) else None
    if answered is None and "response" in result:
        answered = {"role": "assistant", "content": result["response"]}
    return Answer(
        body=document,
        model=document.get("model"),
        node=node,
        text=answered.get("content") if answered else None,
        message=answered,
        embeddings=result.get("embeddings"),
        input_tokens=counted(usage.get("input_tokens")),
        output_tokens=counted(usage.get("output_tokens")),
    )


DIALECT = Dialect("0.3.1", recognises, read, write, ask, understand)
