# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Protocol version 2, of legion-llm 0.9 and lex-llm 0.3.6 to 0.7.6: flat answers, and its own codes for errors.

Deliberate differences from lex-llm 0.7.6: an answer has a ``finish_reason`` and, if the model thinks, ``thinking``,
which requesters read; ``tool_calls`` is a list, as requesters expect; the answer to an embedding is numbers, and to a
count of tokens a number.
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
    2,
    # The answer to a stream is one whole reply: this version has no streams on the wire.
    {"chat": "chat", "stream": "chat", "embed": "embed", "count_tokens": "chat"},
    not_exact=("stream",),
)

#: The protocol's codes for our codes; the codes that are missing here are failures of the provider.
_CODES: Mapping[str, str] = {
    "unknown_instance": "configuration_error",
    "unsupported_operation": "policy_error",
    "invalid_token": "policy_error",
    "token_expired": "policy_error",
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
        # By the rules of this version, each failure of the provider may be retried.
        return replies.error(VERSION.number, request, worker, outcome, code, retryable=code == "provider_error")
    return replies.reply(request, worker, replies.RESPONSE, _response_body(request, outcome))


def _response_body(request: Request, success: Success) -> dict[str, Any]:
    result = success.result
    input_tokens, output_tokens = tokens_of(result)
    body: dict[str, Any] = {
        **repeated(VERSION.number, request),
        "content": "",
        "tool_calls": [],
        "usage": {"input_tokens": input_tokens, "output_tokens": output_tokens},
        "metadata": {},
    }
    if request.request_type == "count_tokens":
        body["content"] = str(input_tokens)
        body["usage"]["output_tokens"] = 0  # the one generated token only serves the count
    elif request.call == "embed":
        body["content"] = embedding_of(request, result)
    else:
        message = message_of(result)
        calls = canonical_calls(message)
        body["content"] = message.get("content") or ""
        body["tool_calls"] = calls
        body["finish_reason"] = finish_reason(result, calls=bool(calls))
        if message.get("thinking"):
            body["thinking"] = {"content": message["thinking"]}
    return body


DIALECT = Dialect("version 2", recognises, read, write, numbered=True)
