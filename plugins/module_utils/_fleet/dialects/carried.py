# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The carried dialect of this collection: an HTTP request goes to Ollama, and its answer comes back.

Nothing is translated. The request has the path of Ollama's API in a header, and the body of its client. The answer has
the status and the content type in headers, and the body of Ollama. An answer that is streamed, or is too large for one
message, comes in numbered pieces. It ends with a message that has the number of pieces and no body.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

from ..._ollama.api_errors import UnsendableRequestError
from ..._ollama.carried_body import body_on_terms, wanted_of
from ..._ollama.carried_paths import CARRIED_PATHS, asks_for_stream
from ..._ollama.numbers import whole
from ..._ollama.option_ranges import RefusedFieldError
from ..._ollama.text import printable
from ..._ollama.usage import counted
from ..carried import CarriedAnswer, CarriedRequest
from ..errors import UnreadableAnswerError
from ..lanes import Lane
from ..messages import (
    APP_ID,
    CARRIED_REQUEST,
    CODES,
    Failure,
    Message,
    Outcome,
    Properties,
    Reply,
    Request,
    decode,
    encode,
    property_text,
)
from .base import Dialect, Document, Headers, ReplyIdentity
from .headers import ATTEMPT, BASE, DEADLINE, DELTAS, HOSTNAME, SEQUENCE
from .reading import refused

ANSWER = "legionio.carried.answer"
PIECE = "legionio.carried.piece"
ERROR = "legionio.carried.error"

#: Headers: the path of a request; the status and the content type of an answer, and of its first piece; the tokens.
PATH = "x-legion-carried-path"
STATUS = "x-legion-carried-status"
CONTENT_TYPE = "x-legion-carried-content-type"
INPUT_TOKENS = "x-legion-carried-input-tokens"
OUTPUT_TOKENS = "x-legion-carried-output-tokens"
ESTIMATED = "x-legion-carried-tokens-estimated"

_PREFIXES = {ANSWER: "resp", ERROR: "err", PIECE: "piece"}
_MAX_CONTENT_TYPE = 200


def recognises(properties: Properties, _headers: Headers, _document: Document) -> bool:
    """Return whether a message has the type of a carried request."""
    return is_carried(properties)


def is_carried(properties: Properties) -> bool:
    """Return whether a message is a carried request, whose body no worker changes or shares with others."""
    return properties.type == CARRIED_REQUEST


def read(message: Message, document: Document, lane: Lane) -> Request:
    """Read a request. Only the properties name the sender, because the body is the client's."""
    path = message.headers.get(PATH)
    known = CARRIED_PATHS.get(path) if isinstance(path, str) else None
    call = lane.type if known is None else known.call
    asked = document.get("model")
    arguments: dict[str, Any] = {}
    failure: Optional[Failure] = None
    carried: Optional[CarriedRequest] = None
    if known is None:
        failure = Failure("unsupported_type", f"the path {printable(path, 100)} is not carried")
    elif not isinstance(asked, str) or not asked:
        failure = Failure("unsupported_type", "the body has no model")
    elif not lane.names(asked):
        failure = Failure("model_not_loaded", f"this lane serves the model {lane.model}, not {printable(asked)}")
    else:
        try:
            arguments = wanted_of(str(path), message.body, document)
            carried = CarriedRequest(str(path), message.body, document, asks_for_stream(str(path), document))
        except RefusedFieldError as error:
            failure = refused(error)
    return Request(
        request_type=call,
        call=call,
        model=lane.model if failure or not isinstance(asked, str) else asked,
        arguments=arguments,
        reply_to=message.properties.reply_to,
        correlation_id=message.properties.correlation_id,
        carried=carried,
        failure=failure,
    )


def on_terms(request: Request) -> Request:
    """Return a request whose body has the arguments that the lane has decided."""
    carried = request.carried
    if carried is None or request.failure is not None:
        return request
    try:
        body = body_on_terms(carried.body, carried.document, carried.path, request.arguments)
    except RefusedFieldError as error:
        return replace(request, failure=refused(error))
    except UnsendableRequestError as error:
        return replace(request, failure=Failure("unsupported_type", error.message))
    return request if body is carried.body else replace(request, carried=replace(carried, body=body))


def write(request: Request, outcome: Outcome, worker: ReplyIdentity) -> Reply:
    """Write the answer: Ollama's answer, or an error if Ollama was not asked or did not answer."""
    said = outcome.said if isinstance(outcome, Failure) else outcome.result
    if isinstance(said, CarriedAnswer):
        headers = {
            STATUS: said.status,
            CONTENT_TYPE: said.content_type[:_MAX_CONTENT_TYPE],
            INPUT_TOKENS: said["prompt_eval_count"],
            OUTPUT_TOKENS: said["eval_count"],
            ESTIMATED: said.estimated,
        }
        return _reply(request, worker, ANSWER, said.body, headers)
    if not isinstance(outcome, Failure):
        raise ValueError("Ollama has answered to something that was not carried")
    body = {
        "code": outcome.code,
        "message": outcome.message,
        "retriable": outcome.retriable,
        "status": outcome.status,
    }
    return _reply(request, worker, ERROR, encode(body), {"x-legion-fleet-error": outcome.code})


def write_piece(request: Request, piece: AnswerPiece, worker: ReplyIdentity) -> Reply:
    """Write a piece of an answer."""
    headers: dict[str, Any] = {ATTEMPT: piece.attempt, SEQUENCE: piece.sequence}
    if piece.sequence == 0:
        headers.update({STATUS: piece.status, CONTENT_TYPE: piece.content_type[:_MAX_CONTENT_TYPE]})
    return _reply(request, worker, PIECE, piece.body, headers)


def _reply(request: Request, worker: ReplyIdentity, kind: str, body: bytes, extra: Mapping[str, Any]) -> Reply:
    properties = Properties(
        content_type="application/json" if kind == ERROR else "application/octet-stream",
        delivery_mode=1,
        correlation_id=property_text(request.correlation_id),
        message_id=f"{_PREFIXES[kind]}_{uuid.uuid4()}",
        timestamp=int(time.time()),
        type=kind,
        app_id=APP_ID,
    )
    return Reply("", request.reply_to or "", Message(properties, {**BASE, HOSTNAME: worker.node, **extra}, body))


# The requester's side


@dataclass(frozen=True)
class AnswerPiece:
    """A piece of an answer.

    :ivar attempt: the attempt of the piece; a new attempt starts the answer over.
    :ivar sequence: 0 for the first of an attempt, one more for each that follows.
    :ivar status: the HTTP status, in the first piece; 0 in the others.
    :ivar node: the node that sent it, if the message names it.
    """

    attempt: str
    sequence: int
    body: bytes
    status: int = 0
    content_type: str = ""
    node: Optional[str] = None


@dataclass(frozen=True)
class Ending:
    """The end of an answer, or the whole answer if it has no pieces.

    :ivar pieces: the number of pieces of the attempt; None if the body is the whole answer.
    :ivar failure: why Ollama's answer is missing.
    :ivar estimated: whether the token counts are estimates.
    """

    node: Optional[str]
    body: bytes = b""
    status: int = 0
    content_type: str = ""
    attempt: Optional[str] = None
    pieces: Optional[int] = None
    failure: Optional[Failure] = None
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False


def request_message(
    path: str,
    body: bytes,
    *,
    correlation_id: str,
    reply_to: str,
    seconds: float,
    wait: float = math.inf,
    priority: int = 0,
) -> Message:
    """Write a request.

    :param seconds: how long the answer is useful; the worker does not start later.
    :param wait: the most seconds that the request waits in its lane, which then passes it to its heir.
    """
    milliseconds = max(1, int(seconds * 1000))
    waits = max(1, int(min(seconds, wait) * 1000))
    properties = Properties(
        content_type="application/json",
        delivery_mode=2,
        priority=priority,
        correlation_id=correlation_id,
        reply_to=reply_to,
        expiration=str(waits),
        message_id=correlation_id,
        timestamp=int(time.time()),
        type=CARRIED_REQUEST,
        app_id=APP_ID,
    )
    headers = {**BASE, PATH: path, DEADLINE: int(time.time() * 1000) + milliseconds}
    return Message(properties, headers, body)


def understand(message: Message) -> Union[AnswerPiece, Ending]:
    """Read a worker's message.

    :raises UnreadableAnswerError: if the message is not in this dialect.
    """
    kind, headers = message.properties.type, message.headers
    node = headers.get(HOSTNAME)
    node = node if isinstance(node, str) else None
    attempt = headers.get(ATTEMPT)
    attempt = attempt if isinstance(attempt, str) else None
    status = whole(headers.get(STATUS)) or 0
    content_type = headers.get(CONTENT_TYPE)
    content_type = content_type if isinstance(content_type, str) and content_type.isprintable() else ""
    if kind == PIECE:
        sequence = whole(headers.get(SEQUENCE))
        if attempt is None or sequence is None or (sequence == 0 and not 200 <= status < 600):
            raise UnreadableAnswerError("A piece of the answer does not say where it belongs")
        return AnswerPiece(attempt, sequence, message.body, status, content_type, node)
    if kind == ERROR:
        return Ending(node, attempt=attempt, failure=_failure(message))
    if kind != ANSWER or not 200 <= status < 600:
        raise UnreadableAnswerError(f"The answer is not one of the carried dialect, but {printable(kind)}")
    return Ending(
        node,
        body=message.body,
        status=status,
        content_type=content_type,
        attempt=attempt,
        pieces=whole(headers.get(DELTAS)),
        input_tokens=counted(whole(headers.get(INPUT_TOKENS))),
        output_tokens=counted(whole(headers.get(OUTPUT_TOKENS))),
        estimated=headers.get(ESTIMATED) is True,
    )


def _failure(message: Message) -> Failure:
    document, problem = decode(message, limit=len(message.body))
    code, text = document.get("code"), document.get("message")
    if problem is not None or code not in CODES:
        raise UnreadableAnswerError("The error of a worker cannot be read")
    return Failure(str(code), printable(text, 1000), final=document.get("retriable") is not True)


DIALECT = Dialect("carried", recognises, read, write)
