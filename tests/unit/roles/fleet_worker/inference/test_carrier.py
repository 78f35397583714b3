# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that are carried as they came: in one message where the answer is small, else in pieces."""

from __future__ import annotations

from typing import Any

import pytest
from fleet_worker._fleet.carried import CarriedAnswer, CarriedRequest
from fleet_worker._fleet.messages import Failure, Request
from fleet_worker._ollama.api_errors import ApiError, ConnectionLostError, IncompleteResponseError
from fleet_worker._ollama.calls import Call
from fleet_worker.domain.verdicts import Verdict
from fleet_worker.inference.carrier import FEW_TEXTS, LARGEST_WHOLE, Carrier, in_ollamas_words, needs_thread

from .scripted import Answer, Script, Step

REQUEST = CarriedRequest("/v1/chat/completions", b'{"model":"m"}', {"model": "m"}, stream=False)
EVENTS = "text/event-stream; charset=utf-8"


class Pieces:
    """What goes out while Ollama is at work."""

    def __init__(self) -> None:
        self.added: list[tuple[bytes, int, str]] = []

    @property
    def begun(self) -> bool:
        return bool(self.added)

    def add(self, data: bytes, status: int, content_type: str, _check: Any) -> None:
        self.added.append((data, status, content_type))


def run(step: Step, pieces: Pieces) -> CarriedAnswer:
    return Carrier(Script(step).client).run(REQUEST, "m", Call(), pieces)  # type: ignore[arg-type]


def test_run_with_a_small_answer_returns_it_as_it_came() -> None:
    pieces, script = Pieces(), Script(Answer(b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}'))
    answer = Carrier(script.client).run(REQUEST, "m", Call(), pieces)  # type: ignore[arg-type]
    assert (answer.status, answer.content_type, answer.streamed) == (200, "application/json", False)
    assert answer.body == b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    assert (answer["prompt_eval_count"], answer["eval_count"]) == (3, 4)
    assert [(request.path, request.body) for request in script.requests] == [(REQUEST.path, REQUEST.body)]
    assert not pieces.begun


def test_run_with_a_stream_passes_each_part_on() -> None:
    pieces = Pieces()
    answer = run(Answer(b"data: 1\n\n", b"data: 2\n\n", content_type=EVENTS), pieces)
    assert pieces.added == [(b"data: 1\n\n", 200, EVENTS), (b"data: 2\n\n", 200, EVENTS)]
    assert (answer.body, answer.streamed) == (b"", True)


def test_run_with_a_large_answer_passes_it_on_in_pieces() -> None:
    pieces, half = Pieces(), b"x" * (LARGEST_WHOLE // 2 + 1)
    answer = run(Answer(half, half, b"end"), pieces)
    assert [data for data, _status, _type in pieces.added] == [half + half, b"end"]
    assert answer.streamed


def test_run_with_a_refusal_raises_it_with_the_answer() -> None:
    with pytest.raises(ApiError) as raised:
        run(Answer(b'{"error": {"message": "no"}}', status=400), Pieces())
    answer = raised.value.answer
    assert isinstance(answer, CarriedAnswer)
    assert (answer.status, answer.body) == (400, b'{"error": {"message": "no"}}')


def test_run_with_a_lost_connection_can_start_over_as_long_as_nothing_went_out() -> None:
    with pytest.raises(ConnectionLostError):
        run(Answer(b"abc", ConnectionLostError("cut")), Pieces())
    with pytest.raises(IncompleteResponseError):
        run(Answer(b"data: 1\n\n", ConnectionLostError("cut"), content_type=EVENTS), Pieces())


def test_in_ollamas_words_adds_the_answer_to_a_failure_and_to_nothing_else() -> None:
    failure, error = Failure("inference_failed", "no"), ApiError("no", status=400, server_message="no")
    assert in_ollamas_words(failure, error) is failure
    error.answer = CarriedAnswer(400, "text/plain", b"no", (0, 0, False))
    said = in_ollamas_words(failure, error)
    assert isinstance(said, Failure) and said.said is error.answer
    assert in_ollamas_words(Verdict.REQUEUE, error) is Verdict.REQUEUE


@pytest.mark.parametrize(
    "stream, inputs, needed",
    [
        (True, None, True),
        (False, None, False),
        (False, ["a"] * FEW_TEXTS, False),
        (False, ["a"] * (FEW_TEXTS + 1), True),
        (False, "a" * 1000, False),
    ],
)
def test_needs_thread_for_an_answer_that_may_be_large(stream: bool, inputs: Any, needed: bool) -> None:
    carried = CarriedRequest("/v1/embeddings", b"{}", {"input": inputs}, stream)
    assert needs_thread(Request("embed", "embed", "m", {}, carried=carried)) is needed
    assert needs_thread(Request("embed", "embed", "m", {"input": inputs})) is (needed and not stream)
