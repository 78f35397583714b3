# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages that a requester gets, none of them larger than is allowed.

An answer repeats things that the requester wrote, so its size is not in the hands of the model alone. What is too large
becomes an error, and an error that is too large repeats nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable, Optional

from .._fleet.dialects.base import Dialect, ReplyIdentity
from .._fleet.dialects.headers import IGNORED, ignored_fields
from .._fleet.messages import MAX_SHORT_STRING, Delta, Failure, Outcome, Reply, Request, Success, encode
from .._ollama.text import printable

#: Bytes of a message_context that each delta repeats. A larger one stands in the answer alone, since there are twenty
#: deltas a second.
MAX_DELTA_CONTEXT = 4096

WriteDelta = Callable[[Request, Delta, ReplyIdentity], Reply]


class Replies:
    """Writes replies.

    :param max_bytes: of the body of a reply.
    """

    def __init__(self, worker: ReplyIdentity, max_bytes: int) -> None:
        self._worker = worker
        self._max_bytes = max_bytes

    def write(self, dialect: Dialect, request: Request, outcome: Outcome) -> tuple[Reply, Outcome]:
        """Return the reply to a request, and the outcome that it tells: an answer may be too large."""
        request, reply, outcome = self._written(dialect, request, outcome)
        if isinstance(outcome, Success) and not self._fits(reply):
            size = len(reply.message.body)
            outcome = Failure("payload_too_large", f"the answer has {size} bytes, and {self._max_bytes} are allowed")
            request, reply, outcome = self._written(dialect, request, outcome)
        if isinstance(outcome, Failure) and not self._fits(reply):
            short = replace(outcome, message=printable(outcome.message))
            reply = dialect.write(_repeating_nothing(request), short, self._worker)
        return _naming_ignored(reply, request), outcome

    def _written(self, dialect: Dialect, request: Request, outcome: Outcome) -> tuple[Request, Reply, Outcome]:
        """Return a reply that can be written, with what it repeats and what it tells."""
        try:
            return request, dialect.write(request, outcome, self._worker), outcome
        except (ValueError, RecursionError):
            if isinstance(outcome, Success):
                # NaN in what Ollama says, or a context of the request that is nested as deeply as can be.
                outcome = Failure(
                    "inference_failed", "the answer cannot be written as JSON", outcome.started, outcome.seconds
                )
            # Without the fields copied from the request: the context is the only one that may fail to encode.
            bare = replace(request, message_context={}, document={})
            return bare, dialect.write(bare, outcome, self._worker), outcome

    def deltas(self, request: Request, write: WriteDelta) -> Callable[[Delta], Optional[Reply]]:
        """Return what makes a message of a delta; of one that is too large it makes None."""
        short = replace(
            request,
            arguments={},
            request_type=request.request_type[:MAX_SHORT_STRING],
            message_context=_short(request.message_context),
        )

        def delta_of(delta: Delta) -> Optional[Reply]:
            reply = write(short, delta, self._worker)
            return reply if self._fits(reply) else None

        return delta_of

    def _fits(self, reply: Reply) -> bool:
        return len(reply.message.body) <= self._max_bytes


def _repeating_nothing(request: Request) -> Request:
    """Return a request whose answer repeats nothing that is not bounded."""
    return replace(
        request,
        request_type=request.request_type[:MAX_SHORT_STRING],
        model=request.model[:MAX_SHORT_STRING],
        message_context={},
        document={},
    )


def _short(context: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return context if len(encode(context)) <= MAX_DELTA_CONTEXT else {}
    except (ValueError, RecursionError):
        return {}  # the answer meets the same, and says so


def _naming_ignored(reply: Reply, request: Request) -> Reply:
    if not request.ignored:
        return reply
    headers = {**reply.message.headers, IGNORED: ignored_fields(request.ignored)}
    return replace(reply, message=replace(reply.message, headers=headers))
