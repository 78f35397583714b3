# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reading of requests: parse a request, check it, and apply the settings of its lane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Optional, Union

from .._fleet.dialects import dialect_of
from .._fleet.dialects.base import Dialect
from .._fleet.dialects.carried import on_terms as carried_on_terms
from .._fleet.encrypted_bodies import EncryptedBodyError, encrypted_size, is_encrypted
from .._fleet.json_size import MAX_VALUES
from .._fleet.messages import Failure, Message, Request, decode
from .._fleet.trust import ANSWER_TYPES, refusal
from ..domain.delivery import Delivery, LaneSettings
from ..domain.lane_terms import LaneTerms
from ..domain.protocol_settings import USUAL_PROTOCOL, ProtocolSettings
from ..domain.verdicts import Result, Verdict
from .request_guard import RequestGuard
from .task import ParsedRequest, Task


class RequestReader:
    """Reads requests. For any number of threads.

    :param reply_queues: patterns of the allowed reply queues.
    :param max_bytes: the most bytes of a request's body.
    :param runner_options: whether requesters may set options that make Ollama reload a model.
    :param protocol: the settings for requests that state a version of the protocol.
    """

    def __init__(
        self,
        reply_queues: Sequence[str],
        max_bytes: int,
        *,
        runner_options: bool,
        protocol: ProtocolSettings = USUAL_PROTOCOL,
    ) -> None:
        self._reply_queues = reply_queues
        self._max_bytes = max_bytes
        self._runner_options = runner_options
        self._numbered = protocol.dialects
        self._guard = RequestGuard(protocol)
        self._cipher = protocol.cipher

    def read_once(self, task: Task) -> Union[ParsedRequest, Result]:
        """Return the reading of a task, and keep it in the task. Return a result if the task must not be answered."""
        if task.reading is None:
            task.reading = self.read(task.delivery)
        return task.reading

    def read(self, delivery: Delivery) -> Union[ParsedRequest, Result]:
        """Parse and check a request. Return a result if the request must not be answered."""
        message = delivery.message
        if message.properties.type in ANSWER_TYPES:
            return Result(Verdict.ACK, "is_an_answer", fields={"type": message.properties.type})
        dialect, request, undecodable = self._understood(delivery)
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
            reason = refusal(request.reply_to, self._reply_queues, from_property=from_property)
            if reason is not None:
                fields.update(reply_to=request.reply_to, reason=reason)
                return Result(Verdict.REJECT, "reply_to_refused", fields=fields)
        verdict = Verdict.ACK if undecodable is None else Verdict.REJECT
        return ParsedRequest(dialect, request, fields, undecodable or request.failure, verdict)

    def _understood(self, delivery: Delivery) -> tuple[Dialect, Request, Optional[Failure]]:
        """Return the request in a message with the settings of its lane, and a failure if it is not readable."""
        message, lane = delivery.message, delivery.lane
        undecryptable: Optional[Failure] = None
        if is_encrypted(message):
            message, undecryptable = self._decrypted(message)
        document, undecodable = decode(message, self._max_bytes, max_values=MAX_VALUES)
        dialect = dialect_of(message.properties, message.headers, document, self._numbered)
        request = dialect.read(message, document, lane.lane)
        if dialect.numbered and request.failure is None:
            request = replace(request, failure=self._guard.refusal(document, delivery))
        return dialect, self.on_terms(request, lane, lane.terms), undecryptable or undecodable

    def _decrypted(self, message: Message) -> tuple[Message, Optional[Failure]]:
        """Return a decrypted message, or a failure if it cannot be decrypted."""
        if self._cipher is None:
            return message, Failure(
                "undecryptable",
                "the body is encrypted, and this worker decrypts none (protocol.decrypt, fleet_worker_decrypt)",
            )
        size, most = len(message.body), encrypted_size(self._max_bytes)
        if size > most:
            return message, Failure("payload_too_large", f"the body has {size} bytes encrypted, and {most} are allowed")
        try:
            return self._cipher.decrypted(message), None
        except EncryptedBodyError as error:
            return message, Failure("undecryptable", error.message)

    def on_terms(self, request: Request, lane: LaneSettings, terms: LaneTerms) -> Request:
        """Return a request with the settings of its lane applied, ready for Ollama."""
        return carried_on_terms(terms.applied_to(request, lane.lane, runner_options=self._runner_options))
