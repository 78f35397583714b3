# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages for requesters, within the limit of their size.

An answer repeats parts of the request, so not only the model decides about its size. If an answer is too large, the
requester gets an error. If the error is too large, it repeats nothing of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable, Optional

from .._fleet.dialects.base import Dialect, ReplyIdentity
from .._fleet.dialects.headers import IGNORED, ignored_fields
from .._fleet.messages import MAX_SHORT_STRING, Delta, Failure, Outcome, Reply, Request, Success, encode
from .._ollama.text import printable

#: The most bytes of a message_context in deltas. Only the answer repeats a larger one, because there may be twenty
#: deltas a second.
MAX_DELTA_CONTEXT = 4096

WriteDelta = Callable[[Request, Delta, ReplyIdentity], Reply]


class Replies:
    """Writes replies.

    :param max_bytes: the most bytes of a reply's body.
    """

    def __init__(self, worker: ReplyIdentity, max_bytes: int) -> None:
        self._worker = worker
        self._max_bytes = max_bytes

    def write(self, dialect: Dialect, request: Request, outcome: Outcome) -> tuple[Reply, Outcome]:
        """Return the reply to a request, and its outcome, which is an error if the answer is too large."""
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
        """Return the request as the reply repeats it, a reply that can be encoded, and its outcome."""
        try:
            return request, dialect.write(request, outcome, self._worker), outcome
        except (ValueError, RecursionError):
            if isinstance(outcome, Success):
                # Ollama's answer has NaN, or the context of the request is nested too deeply.
                outcome = Failure(
                    "inference_failed", "the answer cannot be written as JSON", outcome.started, outcome.seconds
                )
            # Without the fields copied from the request, because its context may fail to encode.
            bare = replace(request, message_context={}, document={})
            return bare, dialect.write(bare, outcome, self._worker), outcome

    def deltas(self, request: Request, write: WriteDelta) -> Callable[[Delta], Optional[Reply]]:
        """Return a function that writes the message of a delta, and returns ``None`` if the delta is too large."""
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
    """Return a request whose answer repeats only fields of bounded size."""
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
        return {}  # the answer fails in the same way, and becomes an error


def _naming_ignored(reply: Reply, request: Request) -> Reply:
    if not request.ignored:
        return reply
    headers = {**reply.message.headers, IGNORED: ignored_fields(request.ignored)}
    return replace(reply, message=replace(reply.message, headers=headers))
