# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a request, written from the conclusion of its work: reply, verdict and log fields."""

from __future__ import annotations

from typing import Callable, Optional, Union

from .._fleet.carried import CarriedAnswer
from .._fleet.dialects.headers import ignored_fields
from .._fleet.messages import Delta, Failure, Outcome, Reply, Request, Success
from .._ollama.usage import tokens_of
from ..domain.verdicts import ANSWERED, Result, Verdict
from .cancel_token import CancelToken
from .fault_table import ModelFailure
from .replies import Replies, WriteDelta
from .task import ParsedRequest
from .tries import Conclusion, Later

#: The most characters of an error in the log.
_MAX_ERROR = 300


class ResultWriter:
    """Writes results. For any number of threads."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies

    def conclude(self, reading: ParsedRequest, conclusion: Conclusion, stop: CancelToken) -> Union[Result, Later]:
        """Return the result of a request from the conclusion of its inference."""
        if isinstance(conclusion, Later):
            if not stop.stopped:
                return conclusion
            conclusion = stop.verdict
        if isinstance(conclusion, Verdict):
            return Result(conclusion, "requester_gone" if stop.abandoned else "given_back", fields=reading.fields)
        return self.answer(reading, conclusion)

    def deltas(self, request: Request, write: WriteDelta) -> Callable[[Delta], Optional[Reply]]:
        """Return a function that writes the message of a delta, and returns ``None`` if the delta is too large."""
        return self._replies.deltas(request, write)

    def answer(self, reading: ParsedRequest, outcome: Outcome) -> Result:
        """Return the result of a request with its answer."""
        request, verdict = reading.request, reading.verdict
        fields = {**reading.fields, "seconds": outcome.seconds or None}
        if request.ignored:
            fields["ignored"] = ignored_fields(request.ignored)
        if isinstance(outcome, Success):
            fields["input_tokens"], fields["output_tokens"] = tokens_of(outcome.result)
        broken = outcome.message if isinstance(outcome, ModelFailure) else ""
        if request.reply_to is None:
            fields["unanswered"] = "no reply_to"
            if isinstance(outcome, Failure):
                fields["error"] = outcome.message[:_MAX_ERROR]
            return Result(verdict, _outcome_word(outcome), fields=fields, broken=broken)
        reply, outcome = self._replies.write(reading.dialect, request, outcome)
        if isinstance(outcome, Failure):
            fields["error"] = outcome.message[:_MAX_ERROR]
        # After pieces, the reply has only their number.
        whole = not (
            isinstance(outcome, Success) and isinstance(outcome.result, CarriedAnswer) and outcome.result.streamed
        )
        return Result(verdict, _outcome_word(outcome), reply, fields, broken, repeatable=whole)


def _outcome_word(outcome: Outcome) -> str:
    """Return the name of an outcome for counters and the log."""
    if isinstance(outcome, Success):
        return ANSWERED
    # A request that expired before its turn is not a fault of the model.
    return "expired" if outcome.code == "inference_timeout" and not outcome.started else outcome.code
