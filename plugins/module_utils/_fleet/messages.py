# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Messages and their content: a request to a worker, and its outcome.

This module knows no dialect. A dialect (``dialects/``) turns a :class:`Message` into a :class:`Request`, and a request
with its :data:`Outcome` into a :class:`Reply`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from .._ollama.json_text import NestedTooDeeplyError, read_json, read_json_closely
from .._ollama.text import printable
from .carried import CarriedAnswer, CarriedRequest
from .json_size import has_more_values

#: The name of this collection in the property ``app_id``.
APP_ID = "legionio.ollama"

#: The property ``type`` of a carried request.
CARRIED_REQUEST = "legionio.carried.request"

#: The most bytes of a short string of AMQP 0-9-1, the type of most properties.
MAX_SHORT_STRING = 255


@dataclass(frozen=True)
class Properties:
    """The properties of AMQP 0-9-1 that fleet messages use; None if absent.

    :ivar expiration: milliseconds, as text.
    :ivar timestamp: seconds since 1970.
    """

    content_type: Optional[str] = None
    content_encoding: Optional[str] = None
    delivery_mode: Optional[int] = None
    priority: Optional[int] = None
    correlation_id: Optional[str] = None
    reply_to: Optional[str] = None
    expiration: Optional[str] = None
    message_id: Optional[str] = None
    timestamp: Optional[int] = None
    type: Optional[str] = None
    app_id: Optional[str] = None


@dataclass(frozen=True)
class Message:
    """A message as the broker carries it."""

    properties: Properties
    headers: Mapping[str, Any]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """A message, and its destination."""

    exchange: str
    routing_key: str
    message: Message


@dataclass(frozen=True)
class Failure:
    """The failure of a request.

    :ivar code: one of :data:`CODES`.
    :ivar message: for people; never contains a part of a prompt.
    :ivar seconds: how long Ollama worked, 0 when it was not asked.
    :ivar final: whether the same request would fail again, although its code is retriable.
    :ivar said: Ollama's answer to a carried request.
    """

    code: str
    message: str
    started: float = 0.0
    seconds: float = 0.0
    final: bool = False
    said: Optional[CarriedAnswer] = None

    @property
    def category(self) -> str:
        return CODES[self.code][0]

    @property
    def retriable(self) -> bool:
        """Whether the same request may succeed later."""
        return CODES[self.code][1] and not self.final

    @property
    def status(self) -> int:
        """The HTTP status with the same meaning, for the dialects 0.3.1 and carried."""
        return CODES[self.code][2]


@dataclass(frozen=True)
class Success:
    """A request that Ollama has answered.

    :ivar result: the document as Ollama sent it.
    :ivar started: when Ollama was asked, seconds since 1970.
    :ivar seconds: how long it took, including failed tries.
    """

    result: Mapping[str, Any]
    started: float
    seconds: float


Outcome = Union[Success, Failure]


@dataclass(frozen=True)
class Delta:
    """A piece of an answer that is still being made.

    :ivar attempt: the attempt of the piece; each restart of the work, on this node or another, has a new attempt.
    :ivar sequence: 0 for the first of an attempt, one more for each that follows.
    :ivar content: the next piece of the answer's text.
    :ivar thinking: the next piece of the model's thinking.
    :ivar tool_calls: the tool calls of the model.
    """

    attempt: str
    sequence: int
    content: str = ""
    thinking: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()


#: Category, retriable and HTTP status of each code. Category and retriable are those of LegionIO's table of error codes
#: (lex-ollama, fleet wire protocol); the status is our choice, because dialect 0.3.1 has a status and no codes. The
#: codes from ``invalid_envelope`` on belong to protocol versions 2 and 3, which translate them into their own codes.
CODES: Mapping[str, tuple[str, bool, int]] = {
    "model_not_loaded": ("worker", False, 404),
    "ollama_unavailable": ("worker", True, 503),
    "inference_failed": ("worker", True, 500),
    "inference_timeout": ("worker", True, 504),
    "payload_too_large": ("validation", False, 413),
    "unsupported_type": ("validation", False, 422),
    "unsupported_streaming": ("validation", False, 422),
    "invalid_token": ("auth", False, 401),
    "token_expired": ("auth", False, 401),
    "invalid_envelope": ("validation", False, 422),
    "unsupported_operation": ("validation", False, 422),
    "unknown_instance": ("validation", False, 404),
    "contract_violated": ("validation", False, 422),
    "offering_mismatch": ("validation", False, 404),
    "undecryptable": ("validation", False, 422),
}


@dataclass(frozen=True)
class Request:
    """A parsed request.

    :ivar request_type: in the requester's spelling; the lane's type if the request has none.
    :ivar call: ``chat``, ``generate`` or ``embed``.
    :ivar model: in the requester's spelling; the lane's model if the request has none.
    :ivar arguments: the fields for Ollama besides the model.
    :ivar reply_to: the queue that waits for the answer.
    :ivar message_context: copied unchanged into every answer.
    :ivar document: fields of the body that the dialect repeats in its answers.
    :ivar ignored: names of fields that do not reach Ollama.
    :ivar contradictions: names of fields with different values in property and body.
    :ivar stream: whether the requester accepts deltas before the answer.
    :ivar carried: the request to pass to Ollama unchanged, instead of the arguments.
    :ivar failure: why the request must not be served.
    """

    request_type: str
    call: str
    model: str
    arguments: Mapping[str, Any]
    reply_to: Optional[str] = None
    correlation_id: Optional[str] = None
    message_context: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)
    contradictions: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    stream: bool = False
    carried: Optional[CarriedRequest] = None
    failure: Optional[Failure] = None


@dataclass(frozen=True)
class Question:
    """A question of this collection's requester.

    :ivar call: ``chat``, ``generate`` or ``embed``.
    :ivar arguments: as Ollama's API takes them: ``messages``, ``prompt``, ``input``, ``options`` and so on.
    :ivar seconds: how long the answer is useful; a worker does not start later.
    :ivar stream: whether the requester wants deltas before the answer. A worker without deltas sends only the answer.
    """

    call: str
    model: str
    arguments: Mapping[str, Any]
    seconds: float
    priority: int = 5
    message_context: Mapping[str, Any] = field(default_factory=dict)
    stream: bool = False


@dataclass(frozen=True)
class Answer:
    """The answer to a question.

    :ivar body: the whole body.
    :ivar text: the text of the model's message, None for embeddings.
    :ivar message: the model's message with tool calls and thinking, None for embeddings.
    :ivar embeddings: one vector for each input, None for other calls.
    :ivar node: the node that answered, if the answer names it.
    """

    body: Mapping[str, Any]
    model: Optional[str]
    node: Optional[str]
    text: Optional[str] = None
    message: Optional[Mapping[str, Any]] = None
    embeddings: Optional[list[list[float]]] = None
    input_tokens: int = 0
    output_tokens: int = 0


def encode(document: Mapping[str, Any]) -> bytes:
    """Return the body of a message.

    :raises ValueError: for NaN and infinite numbers, which JSON does not have.
    :raises RecursionError: if the document is nested too deeply.
    """
    try:
        return _ENCODER.encode(document).encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair: JSON can escape it, UTF-8 cannot encode it.
        return json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")


def decode(
    message: Message, limit: int, *, max_values: Optional[int] = None
) -> tuple[dict[str, Any], Optional[Failure]]:
    """Return the JSON object of a body; for any other body, an empty object and the failure.

    The body of a carried request is read closely (``AmbiguousObject``), because Ollama reads the same bytes.

    :param limit: the most bytes of the body.
    :param max_values: the most values of the body; None for any number.
    """
    properties, body = message.properties, message.body
    if len(body) > limit:
        return {}, Failure("payload_too_large", f"the body has {len(body)} bytes, and {limit} are allowed")
    if (properties.content_encoding or "identity").lower() not in ("identity", "utf-8", "utf8"):
        encoding = printable(properties.content_encoding)
        return {}, Failure("unsupported_type", f"the content encoding {encoding} is not served")
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        if max_values is not None and has_more_values(text, max_values):
            return {}, Failure("payload_too_large", f"the body has more than {max_values} values")
        closely = properties.type == CARRIED_REQUEST
        document = read_json_closely(text, **_NUMBERS) if closely else read_json(text, _DECODER)
    except NestedTooDeeplyError as error:
        return {}, Failure("unsupported_type", f"the body {error}")
    except ValueError:
        return {}, Failure("unsupported_type", "the body is not JSON")
    if not isinstance(document, dict):
        return {}, Failure("unsupported_type", "the body is not a JSON object")
    return document, None


def json_object(text: str) -> Optional[dict[str, Any]]:
    """Return the JSON object of a text; None for any other text."""
    try:
        value = read_json(text, _DECODER)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def property_text(value: Optional[str]) -> Optional[str]:
    """Return a text if a property can carry it; None if it is too long or has halves of surrogate pairs.

    A text that came from a property fits even when it is not UTF-8: its invalid bytes are surrogates
    (``surrogateescape``), and are sent as they came.
    """
    try:
        fits = value is not None and len(value.encode("utf-8", "surrogateescape")) <= MAX_SHORT_STRING
    except UnicodeEncodeError:
        return None
    return value if fits else None


def short_string(value: Any) -> Optional[str]:
    """Return the value as a text for a property; None when it does not fit."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        return None
    try:
        return value if len(value.encode()) <= MAX_SHORT_STRING else None
    except UnicodeEncodeError:
        return None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # could not be written back
        raise ValueError(f"{text[:20]} is too large a number")
    return value


# Made once: making one takes longer than using it on most messages.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_NUMBERS: dict[str, Any] = {"parse_constant": _refuse, "parse_float": _finite}
_DECODER = json.JSONDecoder(**_NUMBERS)
