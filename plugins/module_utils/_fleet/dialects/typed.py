# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The typed dialect, of lex-ollama 0.3.2 to 0.3.10: the property ``type`` tells requests, responses and errors apart.

Answers have the form of lex-ollama with legion-llm 0.8.33 to 0.8.35. Deliberate differences:

* A failure is an error with a code; lex-ollama sends a response without content.
* An unknown type is refused; lex-ollama serves it as chat. ``embedding`` and ``embeddings`` are embed.
* Tool calls and thinking are passed on.
* Embeddings have their real token count.
* A requester can ask for deltas before the answer.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Optional

from ..._ollama.text import printable
from ..._ollama.usage import counted, tokens_of
from ..errors import FleetAnswerError, UnreadableAnswerError
from ..lanes import Lane
from ..messages import (
    APP_ID,
    Answer,
    Delta,
    Failure,
    Message,
    Outcome,
    Properties,
    Question,
    Reply,
    Request,
    Success,
    decode,
    encode,
    property_text,
)
from .base import Dialect, Document, Headers, ReplyIdentity, reply_fields
from .headers import (
    ATTEMPT,
    DEADLINE,
    HOSTNAME,
    SCHEMA_VERSION,
    SEQUENCE,
    STREAM,
    answering_node,
    llm_headers,
)
from .reading import envelope, wishes

REQUEST = "llm.fleet.request"
RESPONSE = "llm.fleet.response"
ERROR = "llm.fleet.error"
DELTA = "llm.fleet.delta"

#: Prefixes of message ids.
_PREFIXES = {RESPONSE: "resp", ERROR: "err", DELTA: "delta"}

_CALLS = {"chat": "chat", "generate": "generate", "embed": "embed", "embedding": "embed", "embeddings": "embed"}


def recognises(properties: Properties, headers: Headers, _document: Document) -> bool:
    """Return whether a request has one of the marks: its type, or the version of the schema."""
    return properties.type == REQUEST or SCHEMA_VERSION in headers


def read(message: Message, document: Document, lane: Lane) -> Request:
    """Read a request."""
    found = envelope(message, document, lane)
    failure = found.failure
    call = _CALLS.get(found.request_type)
    deltas = message.headers.get(STREAM) == "delta"
    if call is None:
        failure = Failure("unsupported_type", f"the request type {found.request_type[:100]!r} is not served")
    elif not deltas and document.get("stream") is not None and document.get("stream") is not False:
        # Truthy in Ruby, from a requester that does not know deltas.
        failure = Failure("unsupported_streaming", "streaming is not available over the fleet bus")
    wanted = wishes(call or lane.type, document)
    return Request(
        request_type=found.request_type,
        call=call or lane.type,
        model=found.model,
        arguments=wanted.arguments,
        ignored=wanted.ignored,
        reply_to=found.reply_to,
        correlation_id=found.correlation_id,
        message_context=found.message_context,
        contradictions=found.contradictions,
        stream=deltas and call in ("chat", "generate"),
        failure=failure or wanted.failure,
    )


def write(request: Request, outcome: Outcome, worker: ReplyIdentity) -> Reply:
    """Write the answer: a response or an error."""
    if isinstance(outcome, Failure):
        return error_reply(request, worker, error_body(request, outcome, worker), outcome)
    return _reply(request, worker, RESPONSE, _response_body(request, outcome), {})


def write_delta(request: Request, delta: Delta, worker: ReplyIdentity) -> Reply:
    """Write a piece of an answer. Attempt and sequence are headers, like all data that LegionIO has no key for."""
    piece: dict[str, Any] = {"role": "assistant", "content": delta.content}
    if delta.thinking:
        piece["thinking"] = delta.thinking
    if delta.tool_calls:
        piece["tool_calls"] = list(delta.tool_calls)
    body = {
        "message_context": request.message_context,
        "request_type": request.request_type,
        "stream": True,
        "delta": piece,
    }
    return _reply(request, worker, DELTA, body, {ATTEMPT: delta.attempt, SEQUENCE: delta.sequence})


def error_body(request: Request, failure: Failure, worker: ReplyIdentity) -> dict[str, Any]:
    """Return the body of an error."""
    return {
        "message_context": request.message_context,
        "request_type": request.request_type,
        "error": {
            "code": failure.code,
            "message": failure.message,
            "retriable": failure.retriable,
            "category": failure.category,
            "provider": "ollama",
        },
        "worker_node": worker.node,
    }


def error_reply(request: Request, worker: ReplyIdentity, body: Mapping[str, Any], failure: Failure) -> Reply:
    """Return an error with the given body."""
    return _reply(request, worker, ERROR, body, {"x-legion-fleet-error": failure.code})


def _reply(
    request: Request, worker: ReplyIdentity, kind: str, body: Mapping[str, Any], extra: Mapping[str, Any]
) -> Reply:
    headers = llm_headers(request.model, request.request_type, request.message_context)
    headers[HOSTNAME] = worker.node
    headers.update(extra)
    correlation_id = property_text(request.correlation_id)
    if correlation_id is None and request.correlation_id is not None:
        # Too long for the property: the body repeats the id, because the requester wrote it there.
        body = {**body, "correlation_id": request.correlation_id}
    properties = Properties(
        content_type="application/json",
        content_encoding="identity",
        # Nobody reads an answer after a restart of the broker: reply queues do not survive one.
        delivery_mode=1,
        priority=0,
        correlation_id=correlation_id,
        reply_to=request.reply_to,
        message_id=f"{_PREFIXES[kind]}_{uuid.uuid4()}",
        timestamp=int(time.time()),
        type=kind,
        app_id=APP_ID,
    )
    return Reply("", request.reply_to or "", Message(properties, headers, encode(body)))


def _response_body(request: Request, success: Success) -> dict[str, Any]:
    result = success.result
    input_tokens, output_tokens = tokens_of(result)
    milliseconds = round(success.seconds * 1000)
    begun, ended = _iso(success.started), _iso(success.started + milliseconds / 1000)
    body: dict[str, Any] = {
        "message_context": request.message_context,
        "request_type": request.request_type,
        "routing": {
            "provider": "ollama",
            "model": request.model,
            "tier": "fleet",
            "strategy": "fleet_dispatch",
            "latency_ms": milliseconds,
        },
        "tokens": {"input": input_tokens, "output": output_tokens, "total": input_tokens + output_tokens},
        "stop": {"reason": result.get("done_reason")},
        "cost": {"estimated_usd": 0.0, "provider": "ollama", "model": request.model},
        "timestamps": {"received": begun, "provider_start": begun, "provider_end": ended, "returned": ended},
        "audit": {"fleet:execute": {"outcome": "success", "duration_ms": milliseconds, "timestamp": ended}},
        "stream": False,
    }
    if request.call == "embed":
        body["embeddings"] = result.get("embeddings")
    else:
        body["message"] = _message(request.call, result)
        if result.get("logprobs"):
            body["logprobs"] = result["logprobs"]
    return body


def _message(call: str, result: Mapping[str, Any]) -> dict[str, Any]:
    found = result.get("message") if call == "chat" else result
    found = found if isinstance(found, Mapping) else {}
    message = {"role": "assistant", "content": found.get("content" if call == "chat" else "response")}
    for extra in ("tool_calls", "thinking"):
        if found.get(extra):
            message[extra] = found[extra]
    return message


def _iso(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ask(question: Question, correlation_id: str, reply_to: str) -> Message:
    """Write a request, as legion-llm 0.8.36 to 0.8.51 does."""
    body = {
        **question.arguments,
        "request_type": question.call,
        "message_context": question.message_context,
        "provider": "ollama",
        "model": question.model,
        **reply_fields(reply_to),
        "correlation_id": correlation_id,
    }
    milliseconds = math.ceil(question.seconds * 1000)
    properties = Properties(
        content_type="application/json",
        content_encoding="identity",
        delivery_mode=1,
        priority=question.priority,
        correlation_id=correlation_id,
        reply_to=reply_to,
        expiration=str(milliseconds),
        message_id=f"req_{uuid.uuid4()}",
        timestamp=int(time.time()),
        type=REQUEST,
        app_id=APP_ID,
    )
    headers = llm_headers(question.model, question.call, question.message_context)
    headers[DEADLINE] = int(time.time() * 1000) + milliseconds
    if question.stream:
        # Only in the header: a worker without deltas refuses a request with stream in its body.
        headers[STREAM] = "delta"
    return Message(properties, headers, encode(body))


def understand(message: Message) -> Answer:
    """Read an answer.

    :raises FleetAnswerError: if the answer is an error.
    :raises UnreadableAnswerError: if the message is not an answer.
    """
    document, problem = decode(message, limit=len(message.body))
    if problem is not None:
        raise UnreadableAnswerError(f"The answer is not one of the typed dialect: {problem.message}")
    node = answering_node(message.headers)
    if message.properties.type == ERROR:
        error = _object(document.get("error"))
        raise FleetAnswerError(
            f"The worker {printable(node or document.get('worker_node') or 'that answered')} reports"
            f" {printable(error.get('code'))}: {printable(error.get('message'), 500)}",
            fleet_code=str(error.get("code")),
            retriable=bool(error.get("retriable")),
            category=str(error.get("category")),
            node=node,
        )
    execution = _object(_object(document.get("audit")).get("fleet:execute"))
    if execution.get("outcome") == "error":
        # lex-ollama's own answer when Ollama has failed.
        raise FleetAnswerError(
            f"The worker {printable(node or 'that answered')} failed, and its answer does not say why",
            fleet_code="inference_failed",
            retriable=True,
            node=node,
        )
    answered = document.get("message")
    tokens = _object(document.get("tokens"))
    return Answer(
        body=document,
        model=_object(document.get("routing")).get("model"),
        node=node,
        text=answered.get("content") if isinstance(answered, dict) else None,
        message=answered if isinstance(answered, dict) else None,
        embeddings=document.get("embeddings"),
        input_tokens=counted(tokens.get("input")),
        output_tokens=counted(tokens.get("output")),
    )


def understand_delta(message: Message) -> Optional[Delta]:
    """Read a piece of an answer; return None for any other message.

    :raises UnreadableAnswerError: if the piece cannot be read.
    """
    if message.properties.type != DELTA:
        return None
    document, problem = decode(message, limit=len(message.body))
    piece = document.get("delta")
    attempt, sequence = message.headers.get(ATTEMPT), message.headers.get(SEQUENCE)
    if problem is not None or not (isinstance(piece, dict) and isinstance(attempt, str) and isinstance(sequence, int)):
        raise UnreadableAnswerError(f"A piece of the answer cannot be read: {problem and problem.message}")
    calls = piece.get("tool_calls")
    return Delta(
        attempt,
        sequence,
        content=_string(piece.get("content")),
        thinking=_string(piece.get("thinking")),
        tool_calls=tuple(calls) if isinstance(calls, list) else (),
    )


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


DIALECT = Dialect("typed", recognises, read, write, ask, understand, write_delta, understand_delta)
