# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests, read and checked: what is asked, on the terms of the lane, and why it must not be served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Union

from .._fleet.dialects import dialect_of
from .._fleet.dialects.base import Dialect, ReplyIdentity
from .._fleet.json_size import MAX_VALUES
from .._fleet.messages import Failure, Message, Request, decode
from .._fleet.trust import ANSWER_TYPES, refusal
from ..domain.delivery import Delivery, LaneSettings
from ..domain.lane_terms import LaneTerms
from ..domain.verdicts import Result, Verdict

#: Seconds kept from the end of a deadline, for the answer.
ANSWER_RESERVE = 0.05


@dataclass(frozen=True)
class Task:
    """A request that was read.

    :ivar fields: what the log says of it.
    :ivar failure: why it must not be served.
    :ivar verdict: on the request when it is answered.
    """

    delivery: Delivery
    dialect: Dialect
    request: Request
    fields: dict[str, Any]
    failure: Optional[Failure]
    verdict: Verdict


@dataclass(frozen=True)
class HandlerSettings:
    """What requests are served under.

    :ivar reply_queues: patterns of the queues that may be answered to.
    :ivar max_request: bytes of a request's body, at most.
    :ivar max_reply: bytes of an answer's body, at most.
    :ivar patience: seconds for which a request waits for an Ollama that is down.
    """

    worker: ReplyIdentity
    reply_queues: tuple[str, ...]
    max_request: int
    max_reply: int
    patience: float
    allow_runner_options: bool


class RequestReader:
    """Reads requests. For any number of threads."""

    def __init__(self, terms: HandlerSettings) -> None:
        self._terms = terms

    def read(self, delivery: Delivery) -> Union[Task, Result]:
        """Read a request; return what becomes of it if it is none that is ever answered."""
        message, served = delivery.message, delivery.served
        if message.properties.type in ANSWER_TYPES:
            return Result(Verdict.ACK, "is_an_answer", fields={"type": message.properties.type})
        dialect, request, undecodable = self._understood(message, served)
        fields: dict[str, Any] = {
            "dialect": dialect.name,
            "correlation_id": request.correlation_id,
            "type": request.request_type,
            "model": request.model,
            "redelivered": delivery.count or None,
            "contradictions": ",".join(request.contradictions) or None,
        }
        if request.reply_to is not None:
            from_property = request.reply_to == message.properties.reply_to
            reason = refusal(request.reply_to, self._terms.reply_queues, from_property=from_property)
            if reason is not None:
                fields.update(reply_to=request.reply_to, reason=reason)
                return Result(Verdict.REJECT, "reply_to_refused", fields=fields)
        verdict = Verdict.ACK if undecodable is None else Verdict.REJECT
        return Task(delivery, dialect, request, fields, undecodable or request.failure, verdict)

    def _understood(self, message: Message, served: LaneSettings) -> tuple[Dialect, Request, Optional[Failure]]:
        """Return what a message wants, on the terms of its lane, and what is wrong with it if it cannot be read."""
        document, undecodable = decode(message, self._terms.max_request, max_values=MAX_VALUES)
        dialect = dialect_of(message.properties, message.headers, document)
        return dialect, self.on_terms(dialect.read(message, document, served.lane), served, served.terms), undecodable

    def on_terms(self, request: Request, served: LaneSettings, terms: LaneTerms) -> Request:
        """Return a request as Ollama is sent it."""
        return terms.applied_to(request, served.lane, runner_options=self._terms.allow_runner_options)

    def embedding_of(self, delivery: Delivery) -> Optional[dict[str, Any]]:
        """Return what Ollama would be asked for a request, if it is one for embeddings of texts; else None."""
        if delivery.message.properties.type in ANSWER_TYPES or self.hopeless(delivery):
            return None
        _dialect, request, undecodable = self._understood(delivery.message, delivery.served)
        if undecodable or request.failure or request.call != "embed" or "input" not in request.arguments:
            return None
        return dict(request.arguments)

    @staticmethod
    def hopeless(delivery: Delivery) -> Optional[Failure]:
        """Return why a request is not even begun; None when it is."""
        if delivery.is_last:
            # Once more, and the broker drops it without a word to anybody.
            return Failure("inference_failed", f"{delivery.count} deliveries of this request came to no end")
        if delivery.seconds_left() <= ANSWER_RESERVE:
            return Failure("inference_timeout", "the request had expired before its turn came")
        return None
