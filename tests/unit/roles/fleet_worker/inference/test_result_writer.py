# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results: the verdict, the reply and the words for the log, by what the work came to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from fleet_worker._fleet.carried import CarriedAnswer
from fleet_worker._fleet.dialects.base import ReplyIdentity
from fleet_worker._fleet.messages import Failure, Success
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.inference.cancel_token import CancelToken
from fleet_worker.inference.fault_table import ModelFailure
from fleet_worker.inference.replies import Replies
from fleet_worker.inference.request_reader import RequestReader
from fleet_worker.inference.result_writer import ResultWriter
from fleet_worker.inference.task import ParsedRequest
from fleet_worker.inference.tries import Later

from ..deliveries import delivery

WRITER = ResultWriter(Replies(ReplyIdentity("gpu-01"), 10_000))
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
SUCCESS = Success({"message": {"content": "Hi"}, "prompt_eval_count": 3, "eval_count": 4, "done": True}, 5.0, 1.5)
LATER = Later(1.0, "busy")


def reading(**options: Any) -> ParsedRequest:
    found = RequestReader(("llm.fleet.reply.*",), 1000, runner_options=False).read(delivery(CHAT, **options))
    assert isinstance(found, ParsedRequest)
    return found


def conclude(conclusion: Any, *, stopped: bool = False, abandoned: bool = False, **options: Any) -> Any:
    stop = CancelToken()
    if stopped:
        stop.stop()
    if abandoned:
        stop.abandon()
    return WRITER.conclude(reading(**options), conclusion, stop)


def test_conclude_with_a_success_replies_and_counts() -> None:
    result = conclude(SUCCESS)
    assert (result.verdict, result.outcome, result.broken, result.repeatable) == (Verdict.ACK, "answered", "", True)
    assert json.loads(result.reply.message.body)["message"]["content"] == "Hi"
    expected = {"seconds": 1.5, "input_tokens": 3, "output_tokens": 4, "model": "m:1"}
    assert expected.items() <= result.fields.items()


def test_conclude_leaves_the_reading_as_it_is() -> None:
    read = reading()
    before = dict(read.fields)
    WRITER.conclude(read, SUCCESS, CancelToken())
    assert read.fields == before, "the next try must not find the fields of this one"


@pytest.mark.parametrize(
    "failure, outcome",
    [
        (Failure("inference_timeout", "too late"), "expired"),
        (Failure("inference_timeout", "too late", started=5.0), "inference_timeout"),
        (Failure("ollama_unavailable", "down " * 100), "ollama_unavailable"),
    ],
)
def test_conclude_with_a_failure_replies_with_an_error(failure: Failure, outcome: str) -> None:
    result = conclude(failure)
    assert (result.verdict, result.outcome) == (Verdict.ACK, outcome)
    assert json.loads(result.reply.message.body)["error"]["code"] == failure.code
    assert result.fields["error"] == failure.message[:300]


def test_conclude_with_a_failure_of_the_model_says_what_broke() -> None:
    assert conclude(ModelFailure("inference_failed", "no memory")).broken == "no memory"


def test_conclude_without_a_reply_queue_has_no_reply() -> None:
    result = conclude(SUCCESS, reply_to=None)
    assert (result.reply, result.outcome, result.fields["unanswered"]) == (None, "answered", "no reply_to")


def test_conclude_with_a_later_try_passes_it_on_unless_the_work_was_stopped() -> None:
    assert conclude(LATER) is LATER
    result = conclude(LATER, stopped=True)
    assert isinstance(result, Result)
    assert (result.verdict, result.outcome) == (Verdict.REQUEUE, "given_back")


@pytest.mark.parametrize("abandoned, outcome", [(False, "given_back"), (True, "requester_gone")])
def test_conclude_with_a_verdict_has_no_reply(abandoned: bool, outcome: str) -> None:
    result = conclude(Verdict.REQUEUE, abandoned=abandoned)
    assert (result.verdict, result.outcome, result.reply) == (Verdict.REQUEUE, outcome, None)


def test_answer_that_went_out_in_pieces_is_not_repeatable() -> None:
    carried = CarriedAnswer(200, "text/event-stream", b"", (1, 2, False), streamed=True)
    read = replace(reading(), request=replace(reading().request, reply_to=None))
    assert WRITER.answer(read, Success(carried, 0.0, 0.1)).repeatable
    assert not WRITER.answer(reading(), Success(carried, 0.0, 0.1)).repeatable
