# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a request that Ollama has not answered: it waits, is tried again, goes back, or fails."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from fleet_worker._fleet.dialects.protocol import version2
from fleet_worker._fleet.messages import Failure, Request
from fleet_worker._ollama.api_errors import (
    ApiError,
    ConnectionLostError,
    ModelNotFoundError,
    OllamaError,
    ServerBusyError,
    ServerUnreachableError,
    UnsupportedByServerError,
)
from fleet_worker.domain.lane_rule import ALONE
from fleet_worker.domain.verdicts import Verdict
from fleet_worker.inference.availability import UnavailableError
from fleet_worker.inference.fault_table import ModelFailure
from fleet_worker.inference.task import ParsedRequest
from fleet_worker.inference.tries import LOST_TRIES, Later

from ..deliveries import delivery
from .scripted import Watch, availability
from .tasks import task_of

UNREACHABLE, LOST = ServerUnreachableError("nobody there"), ConnectionLostError("cut")
BUSY = ServerBusyError("server busy", status=503, server_message="server busy")
RUNNER = ApiError("gone", status=500, server_message="model runner has unexpectedly stopped")


def asks(*steps: Any) -> Callable[[], Any]:
    """A question that raises or returns one step after the other."""
    left = list(steps)

    def ask() -> Any:
        step = left.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    return ask


def test_persist_with_an_ollama_that_comes_up_asks_again() -> None:
    watch = Watch(True)
    assert availability(watch).persist(asks(UNREACHABLE, UNREACHABLE, LOST, "answer"), lambda: 60.0) == "answer"
    assert watch.suspected == [UNREACHABLE, UNREACHABLE, LOST]
    assert all(0 < seconds <= 30.0 for seconds in watch.waits), "for as long as requests wait"


def test_persist_with_an_ollama_that_stays_down_gives_up() -> None:
    watch = Watch(True, False)
    with pytest.raises(UnavailableError) as raised:
        availability(watch).persist(asks(UNREACHABLE, UNREACHABLE), lambda: 5.0)
    assert (raised.value.error, raised.value.breaks) == (UNREACHABLE, False)
    assert all(seconds <= 5.0 for seconds in watch.waits), "no longer than anybody waits for the answer"


@pytest.mark.parametrize("first, most", [(True, 5.0), (False, 10.0)])
def test_persist_leaves_half_of_the_time_to_the_node_that_may_get_the_request(first: bool, most: float) -> None:
    watch = Watch(False)
    with pytest.raises(UnavailableError):
        availability(watch).persist(asks(UNREACHABLE), lambda: 10.0, first=first)
    (waited,) = watch.waits
    assert most - 0.5 < waited <= most


@pytest.mark.parametrize("left, patience", [(0.0, 30.0), (-1.0, 30.0), (60.0, 0.0)])
def test_persist_without_time_does_not_wait(left: float, patience: float) -> None:
    watch = Watch(True)
    with pytest.raises(UnavailableError):
        availability(watch, patience).persist(asks(UNREACHABLE), lambda: left)
    assert watch.suspected and not watch.waits


def test_persist_with_a_connection_that_always_breaks_suspects_the_question() -> None:
    watch = Watch(True)
    with pytest.raises(UnavailableError) as raised:
        availability(watch).persist(asks(*[LOST] * (LOST_TRIES + 1)), lambda: 60.0)
    assert raised.value.breaks
    assert len(watch.waits) == LOST_TRIES


@pytest.mark.parametrize("error", [BUSY, RUNNER, ModelNotFoundError("no", status=404, server_message="no")])
def test_persist_with_any_other_error_raises_it(error: OllamaError) -> None:
    watch = Watch(True)
    with pytest.raises(type(error)):
        availability(watch).persist(asks(error), lambda: 60.0)
    assert not watch.suspected


@pytest.mark.parametrize(
    "count, breaks, expiration, returned",
    [
        (0, False, None, True),
        (1, False, None, False),
        (0, True, None, False),
        (0, False, "10000", True),
        (0, False, "900", False),
    ],
)
def test_give_up_lets_another_node_try_once(count: int, breaks: bool, expiration: Any, returned: bool) -> None:
    """If there is time for another node, and the request is not what breaks the connection."""
    gone = UnavailableError(LOST, breaks=breaks)
    conclusion = availability(Watch()).give_up(gone, delivery(count=count, expiration=expiration), 5.0, 1.5)
    assert (conclusion is Verdict.REQUEUE) is returned
    if not returned:
        assert conclusion == Failure("ollama_unavailable", "cut", 5.0, 1.5)


def test_conclude_with_a_busy_ollama_tries_again_then_another_node_then_fails() -> None:
    task = task_of()
    patient = availability(Watch(), 30.0)
    assert isinstance(patient.conclude(BUSY, task, 5.0, 0.1), Later)
    short = task_of(expiration="1500")
    tries = [patient.conclude(BUSY, short, 5.0, 0.1) for _time in range(4)]
    assert Verdict.REQUEUE in tries, "another node gets it while there is time"
    hasty = availability(Watch(), 0.0)
    assert hasty.conclude(BUSY, task_of(), 5.0, 0.1) is Verdict.REQUEUE
    assert hasty.conclude(BUSY, task_of(count=1), 5.0, 0.1) == Failure("ollama_unavailable", "server busy", 5.0, 0.1)


def test_conclude_with_a_runner_that_ends_twice_blames_a_request_that_was_alone() -> None:
    task, decides = task_of(), availability(Watch())
    first = decides.conclude(RUNNER, task, 5.0, 0.1)
    assert isinstance(first, Later) and first.alone
    for seconds, retriable in ((2.0, False), (ALONE + 1, True)):  # after that it was not alone any more
        again = decides.conclude(RUNNER, task, 5.0, seconds)
        assert isinstance(again, ModelFailure)
        assert (again.code, again.retriable) == ("inference_failed", retriable)


def test_conclude_with_a_model_that_ollama_lists_and_cannot_find_fails() -> None:
    error = ModelNotFoundError("model 'm:1' not found", status=404, server_message="not found")
    conclusion = availability(Watch()).conclude(error, task_of(), 5.0, 0.1)
    assert conclusion == Failure("model_not_loaded", "model 'm:1' not found", 5.0, 0.1)


@pytest.mark.parametrize(
    "count, expiration, returned",
    [(0, None, True), (1, None, False), (0, "10000", True), (0, "900", False)],
    ids=["first", "second", "short", "late"],
)
def test_conclude_with_a_model_that_ollama_has_lost_lets_another_node_try_once(
    count: int, expiration: Any, returned: bool
) -> None:
    error = ModelNotFoundError("model 'm:1' not found", status=404, server_message="not found")
    task = task_of(count=count, expiration=expiration)
    watch = Watch(lost=[task.delivery.lane.model_key])
    conclusion = availability(watch).conclude(error, task, 5.0, 0.1)
    if returned:
        assert conclusion is Verdict.REQUEUE
    else:
        assert conclusion == Failure("model_not_loaded", "model 'm:1' not found", 5.0, 0.1)


@pytest.mark.parametrize("operation, code", [("count_tokens", "unsupported_operation"), ("chat", "inference_failed")])
def test_conclude_with_an_ollama_that_is_too_old_refuses_a_count_in_the_words_of_its_version(
    operation: str, code: str
) -> None:
    error = UnsupportedByServerError("The server (Ollama 0.5.5) does not know truncate", needs="0.12.6")
    task = task_of()
    request = Request(operation, "chat", "m:1", {}, "llm.fleet.reply.1", "c-1")
    task.reading = ParsedRequest(version2.DIALECT, request, {}, None, Verdict.ACK)
    conclusion = availability(Watch()).conclude(error, task, 5.0, 0.1)
    assert isinstance(conclusion, Failure)
    assert conclusion.code == code and "Ollama 0.5.5" in conclusion.message
