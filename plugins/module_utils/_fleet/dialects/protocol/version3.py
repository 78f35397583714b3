# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Protocol version 3, of a branch of lex-llm (0.8.0) that is not released; the state of August 2026.

Each request names an offering, and an answer is one object ``response``. The branch does not settle the answers to an
embedding and a count of tokens, and no known requester asks for them. Here both are objects ``response``.

Deliberate differences: those of version 2, and the refusal of operations that Ollama does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...._ollama.usage import tokens_of
from ...lanes import Lane
from ...messages import Failure, Message, Outcome, Properties, Reply, Request, Success
from ..base import Dialect, Document, Headers, ReplyIdentity
from . import replies
from .canonical import canonical_calls, embedding_of, finish_reason, message_of
from .envelope import Version, is_version, read_request, repeated

VERSION = Version(
    3,
    # Here too, the answer to a stream is one whole reply.
    {"chat": "chat", "stream_chat": "chat", "embed": "embed", "count_tokens": "chat"},
    needs_contract=True,
)

#: The protocol's codes for our codes; the codes that are missing here are failures of the provider.
_CODES: Mapping[str, str] = {
    "unknown_instance": "configuration_error",
    "invalid_token": "policy_error",
    "token_expired": "policy_error",
    "unsupported_operation": "contract_error",
    "unsupported_type": "contract_error",
    "contract_violated": "contract_error",
}


def recognises(_properties: Properties, _headers: Headers, document: Document) -> bool:
    """Return whether the body states this version."""
    return is_version(document, VERSION.number)


def read(message: Message, document: Document, lane: Lane) -> Request:
    """Read a request."""
    return read_request(VERSION, message, document, lane)


def write(request: Request, outcome: Outcome, worker: ReplyIdentity) -> Reply:
    """Write the answer: a response or an error."""
    if isinstance(outcome, Failure):
        code = _CODES.get(outcome.code, "provider_error")
        # As in version 2, a missing field counts as a failure of the provider that may be retried.
        retryable = outcome.code == "invalid_envelope" or (code == "provider_error" and outcome.retriable)
        return replies.error(VERSION.number, request, worker, outcome, code, retryable=retryable)
    body = {**repeated(VERSION.number, request), "response": _response(request, outcome)}
    return replies.reply(request, worker, replies.RESPONSE, body)


def _response(request: Request, success: Success) -> dict[str, Any]:
    result = success.result
    input_tokens, output_tokens = tokens_of(result)
    response: dict[str, Any] = {
        "text": "",
        "tool_calls": [],
        "usage": {"input_tokens": input_tokens, "output_tokens": output_tokens, "units": {}, "metadata": {}},
        "stop_reason": "end_turn",
        "model": request.document.get("model", request.model),
        "routing": {},
        "metadata": {},
    }
    if request.request_type == "count_tokens":
        response["text"] = str(input_tokens)
        response["usage"]["output_tokens"] = 0
    elif request.call == "embed":
        text = request.arguments.get("input")
        response["text"] = text if isinstance(text, str) else ""
        response["embedding"] = embedding_of(request, result)
    else:
        message = message_of(result)
        calls = canonical_calls(message)
        response["text"] = message.get("content") or ""
        response["tool_calls"] = calls
        response["stop_reason"] = finish_reason(result, calls=bool(calls))
    return response


DIALECT = Dialect("version 3", recognises, read, write, numbered=True)
