# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The envelope of requests of protocol versions 2 and 3: its required fields, and the fields that answers repeat.

A requester accepts an answer only if its body repeats the version, the operation and the correlation id. So these
fields are read before any check.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Optional

from ...._ollama.numbers import finite
from ...._ollama.option_ranges import RefusedFieldError
from ...._ollama.request_fields import passed_on
from ...direct_reply import DIRECT_REPLY_TO, is_direct
from ...lanes import Lane
from ...messages import Failure, Message, Request, short_string
from ..reading import MAX_CORRELATION_ID, Envelope, envelope, refused
from . import offerings
from .params import ollama_fields

#: The provider of this worker's models.
FAMILY = "ollama"

#: The required fields, by type. An object may be empty; a null counts as missing.
_TEXTS = (
    "request_id",
    "correlation_id",
    "idempotency_key",
    "operation",
    "provider",
    "provider_instance",
    "model",
    "reply_to",
    "signed_token",
    "expires_at",
)
_OBJECTS = ("params", "message_context", "caller", "trace_context")
_NUMBER = "timeout_seconds"

#: Fields of the older dialects, which workers of these versions refuse.
_FOREIGN = ("schema_version", "request_type", "fleet_correlation_id")

#: The fields that an answer repeats if the request has them, besides the correlation id, the operation and the context.
REPEATED = (
    "request_id",
    "idempotency_key",
    "provider",
    "provider_instance",
    "model",
    "reply_to",
    "trace_context",
    "execution_contract",
    "offering_id",
)

#: Seconds by which the clocks of requester and worker may differ.
LEEWAY = 30.0


@dataclass(frozen=True)
class Version:
    """The differences of one version of the protocol.

    :ivar operations: the call of Ollama for each served operation.
    :ivar needs_contract: whether each request must name an offering. Then params are also checked for missing and for
        repeated fields.
    :ivar not_exact: operations whose requests must not name an offering.
    """

    number: int
    operations: Mapping[str, str]
    needs_contract: bool = False
    not_exact: tuple[str, ...] = ()


def is_version(document: Mapping[str, Any], number: int) -> bool:
    """Return whether a body states this version, as a number or as a text."""
    stated = document.get("protocol_version")
    return not isinstance(stated, bool) and (stated == number or stated == str(number))


@dataclass(frozen=True)
class Sender:
    """The sender of a request, according to the body, because a token covers only the body.

    :ivar contradictions: names of fields with different values in property and body.
    """

    operation: str
    reply_to: Optional[str]
    correlation_id: Optional[str]
    contradictions: tuple[str, ...]


def sender_of(message: Message, document: Mapping[str, Any], lane: Lane, found: Envelope) -> Sender:
    """Return the sender of a request.

    :param found: the fields that every dialect reads, for those that the body lacks.
    """
    operation, stated = document.get("operation"), document.get("correlation_id")
    written = short_string(document.get("reply_to"))
    return Sender(
        operation if isinstance(operation, str) and operation else lane.type,
        found.reply_to if written is None or written == DIRECT_REPLY_TO else written,
        stated if isinstance(stated, str) and 0 < len(stated) <= MAX_CORRELATION_ID else found.correlation_id,
        _contradictions(message, document),
    )


def read_request(version: Version, message: Message, document: Mapping[str, Any], lane: Lane) -> Request:
    """Read a request. Never raises: a request that must not be served has a failure."""
    found = envelope(message, document, lane)
    sender = sender_of(message, document, lane, found)
    operation = sender.operation
    call = version.operations.get(operation)
    failure = (
        _malformed(version, document)
        or _contradictory(sender.contradictions)
        or _unknown_operation(version, operation)
        or _wrong_offering(version, document, operation)
        or _wrong_params(version, document["params"], operation)
        or _expired(document)
        or found.failure
    )
    arguments: Mapping[str, Any] = {}
    ignored: tuple[str, ...] = ()
    if failure is None and call is not None:
        try:
            fields, left_out = ollama_fields(operation, document["params"])
            arguments, unknown = passed_on(call, fields)
            ignored = (*left_out, *unknown)
        except RefusedFieldError as error:
            failure = refused(error)
    return Request(
        request_type=operation,
        call=call or lane.type,
        model=found.model,
        arguments=arguments,
        ignored=ignored,
        reply_to=sender.reply_to,
        correlation_id=sender.correlation_id,
        message_context=found.message_context,
        document={name: document[name] for name in REPEATED if document.get(name) is not None},
        contradictions=sender.contradictions,
        failure=failure,
    )


def repeated(version: Optional[int], request: Request) -> dict[str, Any]:
    """Return the fields that every answer to a request repeats, without nulls.

    :param version: None to repeat the version that the request has stated.
    """
    body = {
        "protocol_version": version,
        "model": request.model,
        **request.document,
        "correlation_id": request.correlation_id,
        "operation": request.request_type,
        "message_context": request.message_context,
    }
    return {name: value for name, value in body.items() if value is not None}


def _malformed(version: Version, document: Mapping[str, Any]) -> Optional[Failure]:
    foreign = [name for name in _FOREIGN if name in document]
    if foreign:
        return Failure("invalid_envelope", f"{foreign[0]} has no place in protocol version {version.number}")
    for names, wanted in ((_TEXTS, str), (_OBJECTS, dict)):
        for name in names:
            value = document.get(name)
            if value is None or value == "":
                return Failure("invalid_envelope", f"{name} is missing")
            if not isinstance(value, wanted):
                return Failure("invalid_envelope", f"{name} must be {'a text' if wanted is str else 'an object'}")
    if (finite(document.get(_NUMBER)) or 0) <= 0:
        return Failure("invalid_envelope", f"{_NUMBER} must be a number above 0")
    if _moment(document["expires_at"]) is None:
        return Failure("invalid_envelope", "expires_at must be a time such as 2026-08-01T10:00:30Z")
    if document["provider"] != FAMILY:
        return Failure(
            "invalid_envelope", f"this worker serves the provider {FAMILY}, not {document['provider'][:100]}"
        )
    return None


def _contradictions(message: Message, document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of fields with different values in property and body.

    With direct reply-to, the broker replaces only the property; this difference is not a contradiction.
    """
    names: list[str] = []
    for name in ("reply_to", "correlation_id"):
        stamped, written = getattr(message.properties, name), short_string(document.get(name))
        rewritten = name == "reply_to" and written == DIRECT_REPLY_TO and stamped is not None and is_direct(stamped)
        if stamped is not None and written is not None and stamped != written and not rewritten:
            names.append(name)
    return tuple(names)


def _contradictory(names: tuple[str, ...]) -> Optional[Failure]:
    if not names:
        return None
    return Failure("invalid_envelope", f"the property and the body have different values of {names[0]}")


def _unknown_operation(version: Version, operation: str) -> Optional[Failure]:
    if operation in version.operations:
        return None
    return Failure(
        "unsupported_operation",
        f"the operation {operation[:100]} is not served; this worker serves {', '.join(version.operations)}",
    )


def _wrong_offering(version: Version, document: Mapping[str, Any], operation: str) -> Optional[Failure]:
    contract, offering = document.get("execution_contract"), document.get("offering_id")
    if "execution_contract" not in document and "offering_id" not in document and not version.needs_contract:
        return None
    if contract != offerings.EXACT or not isinstance(offering, str) or not offering.strip():
        return Failure(
            "contract_violated", f"execution_contract must be {offerings.EXACT}, together with an offering_id"
        )
    if operation in version.not_exact:
        return Failure("contract_violated", f"the operation {operation} cannot name an offering")
    if "model" in document["params"]:
        return Failure("contract_violated", "params must not contain model")
    kind = "embedding" if version.operations[operation] == "embed" else "inference"
    instance, model = document["provider_instance"], document["model"]
    if not offerings.means(offering, FAMILY, instance, kind, model):
        return Failure("offering_mismatch", "offering_id means another offering than provider_instance and model")
    return None


#: The required field of an operation's params, in a version that checks them.
_NEEDED: Mapping[str, str] = {"chat": "messages", "stream_chat": "messages", "embed": "text"}


def _wrong_params(version: Version, params: Mapping[str, Any], operation: str) -> Optional[Failure]:
    if not version.needs_contract:
        return None
    needed = _NEEDED.get(operation)
    if needed is not None and params.get(needed) is None:
        return Failure("contract_violated", f"params must contain {needed}")
    inner = params.get("params")
    doubled = sorted(params.keys() & inner.keys()) if isinstance(inner, dict) else []
    if doubled:
        return Failure("contract_violated", f"params must not contain {doubled[0][:100]} twice")
    return None


def _expired(document: Mapping[str, Any]) -> Optional[Failure]:
    ends = _moment(document.get("expires_at"))
    if ends is None or time.time() <= ends + LEEWAY:
        return None
    return Failure(
        "inference_timeout",
        "the request had expired (expires_at) before its turn came, or the clocks of requester and worker differ",
    )


def _moment(text: Any) -> Optional[float]:
    """Return a time in seconds since 1970; None for any other text. A time without a zone is UTC."""
    if not isinstance(text, str) or not 10 <= len(text) <= 40:
        return None
    try:
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1] in "zZ" else text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
