# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a request is worked on, and that its slot becomes free once."""

from __future__ import annotations

from typing import Any, Callable, Optional, Union

import pytest
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.inference.in_flight import InFlightRequest
from fleet_worker.inference.runner import RequestRunner
from fleet_worker.inference.tries import Later

from ..deliveries import delivery
from ..manual_loop import ManualLoop

ANSWERED = Result(Verdict.ACK, "answered")
EXPIRED = Result(Verdict.ACK, "inference_timeout")


class Handler:
    """Answers in a thread; ``begins`` says whether it begins without one."""

    def __init__(self) -> None:
        self.begins = False
        self.concluded: Optional[Callable[[Any], None]] = None
        self.served: list[tuple[Any, Any]] = []
        self.together: list[int] = []
        self.fails = False

    def begin(self, _task: Any, concluded: Callable[[Any], None]) -> bool:
        self.concluded = concluded
        return self.begins

    def serve(self, task: Any, known: Any) -> Result:
        if self.fails:
            raise RuntimeError("a defect")
        self.served.append((task, known))
        return ANSWERED

    def embed_together(self, tasks: Any, max_bytes: int) -> dict[Any, str]:
        self.together = [len(tasks), max_bytes]
        return {tasks[0]: "known"}

    def expired(self, _delivery: Any) -> Result:
        return EXPIRED


class Bench:
    """A runner, and what it said."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.tasks: list[Callable[[], None]] = []
        self.handler = Handler()
        self.runner = RequestRunner(self.loop, self, self.handler, 1000)  # type: ignore[arg-type]
        self.said: list[Any] = []

    def submit(self, task: Callable[[], None]) -> None:
        self.tasks.append(task)

    def requests(self, number: int, **options: Any) -> list[InFlightRequest]:
        return [InFlightRequest(delivery(**options), self.loop, lambda *_delta: None) for _number in range(number)]

    def run(self, requests: list[InFlightRequest]) -> None:
        self.runner.run(requests, self._ended, lambda: self.said.append("free"))

    def _ended(self, request: InFlightRequest, result: Union[Result, Later]) -> None:
        self.said.append((request, result))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_run_of_one_plain_request_needs_no_thread(bench: Bench) -> None:
    bench.handler.begins = True
    (request,) = bench.requests(1)
    bench.run([request])
    assert bench.tasks == [] and bench.said == []
    assert bench.handler.concluded is not None
    bench.handler.concluded(ANSWERED)
    assert bench.said == [(request, ANSWERED), "free"]


def test_run_of_one_that_turns_out_to_need_a_thread_gets_one(bench: Bench) -> None:
    bench.handler.begins = True
    (request,) = bench.requests(1)
    bench.run([request])
    assert bench.handler.concluded is not None
    bench.handler.concluded(None)
    (task,) = bench.tasks
    task()
    assert bench.said == [], "nothing crosses but through the loop"
    bench.loop.turn()
    assert bench.said == [(request, ANSWERED), "free"]


def test_run_of_one_that_cannot_begin_goes_to_the_pool_and_is_no_batch(bench: Bench) -> None:
    (request,) = bench.requests(1)
    bench.run([request])
    bench.tasks.pop()()
    bench.loop.turn()
    assert bench.said == [(request, ANSWERED), "free"]
    assert bench.handler.together == [] and bench.handler.served == [(request.task, None)]


def test_run_of_several_makes_one_batch_and_frees_one_slot(bench: Bench) -> None:
    first, second = bench.requests(2)
    bench.run([first, second])
    bench.tasks.pop()()
    bench.loop.turn()
    assert bench.said == [(first, ANSWERED), (second, ANSWERED), "free"]
    assert bench.handler.together == [2, 1000]
    assert bench.handler.served == [(first.task, "known"), (second.task, None)]


def test_run_of_several_answers_each_at_its_own_deadline(bench: Bench) -> None:
    hasty, patient = bench.requests(1, expiration="1000")[0], bench.requests(1)[0]
    bench.run([hasty, patient])
    bench.loop.turn(2.0)
    assert bench.said == [(hasty, EXPIRED)]
    # The shared call ends when all its requests are stopped.
    assert hasty.stop.stopped and not patient.stop.stopped


def test_run_whose_handler_raises_frees_the_slot(bench: Bench) -> None:
    bench.handler.fails = True
    bench.run(bench.requests(1))
    with pytest.raises(RuntimeError):
        bench.tasks.pop()()
    bench.loop.turn()
    assert bench.said == ["free"]


def test_run_whose_callback_raises_frees_the_slot(bench: Bench) -> None:
    bench.handler.begins = True

    def raises(*_arguments: Any) -> None:
        raise RuntimeError("a defect")

    bench.runner.run(bench.requests(1), raises, lambda: bench.said.append("free"))
    assert bench.handler.concluded is not None
    with pytest.raises(RuntimeError):
        bench.handler.concluded(ANSWERED)
    assert bench.said == ["free"]
