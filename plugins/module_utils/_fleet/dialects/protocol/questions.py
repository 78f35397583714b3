# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The requester's side of protocol versions 2 and 3: questions in the form of LegionIO's requesters, and their answers.

A question has fields of Ollama's API. LegionIO has its own names for most of them; the others go into
``params.params``, which is only for the provider.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from typing import Any, Optional

from ...._ollama.text import printable
from ...._ollama.usage import counted
from ...encrypted_bodies import BodyCipher
from ...errors import FleetAnswerError, InvalidQuestionError, UnreadableAnswerError
from ...messages import APP_ID, Answer, Message, Properties, Question, decode, encode
from ...tokens import UNSIGNED, TokenSettings, sign
from .. import typed
from ..base import Dialect
from ..headers import BASE, answering_node
from . import offerings, version2, version3
from .envelope import FAMILY, Version
from .replies import ERROR, REQUEST, message_id

#: Options that LegionIO has its own names for.
_PARAMS = ("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty")

#: Those that version 3 has besides the messages; the others go into ``params.params``.
_PARAMS_3 = ("temperature",)

_VERSIONS: Mapping[int, tuple[Version, Dialect]] = {
    2: (version2.VERSION, version2.DIALECT),
    3: (version3.VERSION, version3.DIALECT),
}


@dataclass(frozen=True)
class RequesterSettings:
    """The settings of a requester in one of these versions.

    :ivar instance: the name of the worker for requesters (``provider_instance``).
    :ivar tokens: the settings of the token; None leaves questions unsigned.
    :ivar cipher: the cipher for questions; None leaves them in clear.
    :ivar source: the caller that a question names.
    """

    instance: str = "default"
    tokens: Optional[TokenSettings] = None
    cipher: Optional[BodyCipher] = field(default=None, repr=False)
    source: str = APP_ID


def requester_dialect(version: int, settings: RequesterSettings) -> Dialect:
    """Return the dialect of a version, with its requester's side.

    :param version: 2 or 3.
    """
    own, dialect = _VERSIONS[version]
    return replace(dialect, ask=partial(_ask, own, settings), understand=partial(_understand, own))


def _ask(
    version: Version, settings: RequesterSettings, question: Question, correlation_id: str, reply_to: str
) -> Message:
    """Write a request.

    :raises InvalidQuestionError: for a call that the version does not have.
    """
    if question.call not in ("chat", "embed"):
        raise InvalidQuestionError(
            f"Protocol version {version.number} has no {question.call}",
            remedy="Set type to chat, or use dialect instead of protocol",
        )
    now = time.time()
    document: dict[str, Any] = {
        "protocol_version": version.number,
        "request_id": f"req_{uuid.uuid4()}",
        "correlation_id": correlation_id,
        "idempotency_key": f"idem_{uuid.uuid4()}",
        "operation": question.call,
        "provider": FAMILY,
        "provider_instance": settings.instance,
        "model": question.model,
        "params": _params(version, question),
        "reply_to": reply_to,
        "message_context": question.message_context,
        "caller": {"source": settings.source},
        "trace_context": {},
        "timeout_seconds": question.seconds,
        # Whole seconds, as the protocol has them; rounded up, to be never too early.
        "expires_at": _iso(math.ceil(now + question.seconds)),
        "ttl": question.seconds,
    }
    if version.needs_contract:
        kind = "embedding" if question.call == "embed" else "inference"
        document["execution_contract"] = offerings.EXACT
        document["offering_id"] = offerings.readable_id("fleet", FAMILY, settings.instance, kind, question.model)
    document["signed_token"] = UNSIGNED if settings.tokens is None else sign(document, settings.tokens)
    properties = Properties(
        content_type="application/json",
        content_encoding="identity",
        delivery_mode=1,
        correlation_id=correlation_id,
        reply_to=reply_to,
        expiration=str(math.ceil(question.seconds * 1000)),
        message_id=message_id(REQUEST),
        timestamp=int(now),
        type=REQUEST,
        app_id=APP_ID,
    )
    message = Message(properties, dict(BASE), encode(document))
    return message if settings.cipher is None else settings.cipher.encrypted(message)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def _params(version: Version, question: Question) -> dict[str, Any]:
    """Return the params: fields under the names of the version, and the rest as a part of Ollama's own request."""
    raw = {name: value for name, value in question.arguments.items() if value is not None}
    params: dict[str, Any] = {}
    if question.call == "embed":
        params["text"] = raw.pop("input", [])
        if "dimensions" in raw:
            params["dimensions"] = raw.pop("dimensions")
    else:
        messages = [_canonical(message) for message in raw.pop("messages", [])]
        system = raw.pop("system", None)
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        params["messages"] = messages
        if "tools" in raw:
            params["tools"] = _tools(raw.pop("tools"))
        if isinstance(raw.get("format"), dict):
            params["schema"] = raw.pop("format")
        if "think" in raw:
            think = raw.pop("think")
            params["thinking"] = think if isinstance(think, bool) else {"effort": think}
        own = _PARAMS_3 if version.needs_contract else _PARAMS
        options = dict(raw.pop("options", None) or {})
        params.update({name: options.pop(name) for name in own if name in options})
        if options:
            raw["options"] = options
    if raw:
        params["params"] = raw
    return params


def _canonical(message: Any) -> Any:
    """Return a message of Ollama's API in LegionIO's form: images are blocks, and tool calls are flat objects."""
    if not isinstance(message, dict):
        return message
    made = {name: value for name, value in message.items() if name not in ("images", "tool_calls", "tool_name")}
    images = message.get("images")
    if images:
        text = [{"type": "text", "text": message["content"]}] if message.get("content") else []
        made["content"] = text + [{"type": "image", "data": data, "source_type": "base64"} for data in images]
    if message.get("tool_calls"):
        made["tool_calls"] = [
            {**({"id": call["id"]} if call.get("id") else {}), **call.get("function", {})}
            for call in message["tool_calls"]
        ]
    if message.get("tool_name"):
        made["name"] = message["tool_name"]
    return made


def _tools(tools: Any) -> dict[str, Any]:
    listed = [tool.get("function", tool) for tool in tools]
    return {
        tool["name"]: {name: tool[name] for name in ("name", "description", "parameters") if name in tool}
        for tool in listed
    }


def _understand(version: Version, message: Message) -> Answer:
    """Read an answer, also from a worker that only knows older dialects.

    :raises FleetAnswerError: if the answer is an error.
    :raises UnreadableAnswerError: if the message is not an answer.
    """
    document, problem = decode(message, limit=len(message.body))
    if problem is not None:
        raise UnreadableAnswerError(f"The answer is not one of version {version.number}: {problem.message}")
    if document.get("protocol_version") is None:
        return typed.understand(message)
    node = answering_node(message.headers)
    if message.properties.type == ERROR:
        raise FleetAnswerError(
            f"The worker {printable(node or 'that answered')} failed with"
            f" {printable(document.get('code', 'an error'))}:"
            f" {printable(document.get('message', 'its answer does not say why'), 500)}",
            fleet_code=str(document.get("code", "provider_error")),
            retriable=bool(document.get("retryable", False)),
            node=node,
        )
    return _read_response(document, node)


def _read_response(document: Mapping[str, Any], node: Optional[str]) -> Answer:
    response = document.get("response")
    fields: Mapping[str, Any] = response if isinstance(response, dict) else document
    usage = fields.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    common: dict[str, Any] = {
        "body": document,
        "model": fields.get("model"),
        "node": node,
        "input_tokens": counted(usage.get("input_tokens")),
        "output_tokens": counted(usage.get("output_tokens")),
    }
    if document.get("operation") == "embed":
        vectors = fields.get("embedding", fields.get("content"))
        single = isinstance(vectors, list) and bool(vectors) and not isinstance(vectors[0], list)
        return Answer(embeddings=[vectors] if single else vectors, **common)
    text = fields.get("text", fields.get("content"))
    message: dict[str, Any] = {"role": "assistant", "content": text}
    calls, thinking = fields.get("tool_calls"), fields.get("thinking")
    if isinstance(calls, list) and calls:
        message["tool_calls"] = [
            {"id": call.get("id"), "function": {"name": call.get("name"), "arguments": call.get("arguments")}}
            for call in calls
            if isinstance(call, dict)
        ]
    if isinstance(thinking, dict) and thinking.get("content"):
        message["thinking"] = thinking["content"]
    return Answer(text=text, message=message, **common)
