# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Embedding requests that become one call: which of them do, and what each of them gets."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from fleet_worker._fleet.messages import Failure, Success
from fleet_worker._ollama.api_errors import CallCancelledError, ConnectionLostError, ServerUnreachableError
from fleet_worker.domain.verdicts import Verdict
from fleet_worker.inference import request_reader
from fleet_worker.inference.blocking_inference import BlockingInference
from fleet_worker.inference.embed_batch import EmbedBatches, _Batch, _shares
from fleet_worker.inference.request_reader import RequestReader
from fleet_worker.inference.task import Task
from fleet_worker.inference.tries import LOST_TRIES, Later

from ..deliveries import delivery, lane_settings
from .scripted import Answer, Script, Step, Watch, availability, said
from .tasks import task_of

LANE = lane_settings("embed")


def embedding(texts: Any, task_options: Optional[dict[str, Any]] = None, **body: Any) -> Task:
    return task_of(delivery({"input": texts, **body}, lane=LANE, **(task_options or {})))


class Desk:
    """Batches over an Ollama with a script."""

    def __init__(self, *steps: Step, watch: Optional[Watch] = None, patience: float = 30.0) -> None:
        self.script = Script(*steps)
        decides = availability(watch or Watch(), patience)
        self.reader = RequestReader(("llm.fleet.reply.*",), 10_000, runner_options=False)
        self.batches = EmbedBatches(self.reader, BlockingInference(self.script.client, decides), decides)

    def run(self, *tasks: Task, max_bytes: int = 1000) -> dict[Task, Any]:
        return dict(self.batches.run(tasks, max_bytes))


def vectors(number: int) -> Answer:
    made = [[float(at)] for at in range(number)]
    return said({"model": "m:1", "embeddings": made, "prompt_eval_count": number, "total_duration": 7})


def embeddings(conclusion: Any) -> Any:
    assert isinstance(conclusion, Success)
    return conclusion.result["embeddings"]


def test_run_with_equal_options_makes_one_call_and_gives_each_its_own_vectors() -> None:
    desk = Desk(vectors(3))
    one, two = embedding("a"), embedding(["b", "c"])
    conclusions = desk.run(one, two)
    assert [body["input"] for body in desk.script.bodies] == [["a", "b", "c"]]
    assert embeddings(conclusions[one]) == [[0.0]]
    assert embeddings(conclusions[two]) == [[1.0], [2.0]]


def test_run_reads_each_request_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Any] = []
    decode = request_reader.decode

    def counting(message: Any, *arguments: Any, **options: Any) -> Any:
        reads.append(message)
        return decode(message, *arguments, **options)

    monkeypatch.setattr(request_reader, "decode", counting)
    desk = Desk(vectors(2))
    tasks = [embedding("a"), embedding("b")]
    assert len(desk.run(*tasks)) == 2
    for task in tasks:  # as whoever writes the answer does
        desk.reader.read_once(task)
    assert reads == [task.delivery.message for task in tasks]


def test_run_with_other_options_makes_other_calls_and_leaves_what_is_alone() -> None:
    desk = Desk(vectors(2))
    same, odd = [embedding("a"), embedding("b")], embedding("c", truncate=False)
    assert set(desk.run(*same, odd)) == set(same)
    assert len(desk.script.requests) == 1


def test_run_with_many_bytes_makes_several_calls() -> None:
    desk = Desk(vectors(2))
    tasks = [embedding("x" * 400) for _number in range(4)]
    assert set(desk.run(*tasks)) == set(tasks)
    assert [len(body["input"]) for body in desk.script.bodies] == [2, 2]


@pytest.mark.parametrize(
    "odd",
    [
        task_of(delivery(b"not JSON", lane=LANE)),
        task_of(delivery({"input": "a"}, lane=LANE, type="llm.fleet.response")),
        task_of(delivery({"input": "a"}, lane=LANE, reply_to="somewhere.else")),
        task_of(delivery({"input": 5}, lane=LANE)),
        embedding(""),  # has no vector
        task_of(delivery({"input": "a"}, lane=LANE, count=1000)),
        task_of(delivery({"input": "a"}, lane=LANE, headers={"x-legion-fleet-deadline": 1})),
        task_of(delivery({"messages": [{"role": "user", "content": "Hello"}]})),
    ],
)
def test_run_leaves_out_what_is_no_embedding_request_to_be_answered(odd: Task) -> None:
    desk = Desk(vectors(2))
    one, two = embedding("a"), embedding("b")
    assert set(desk.run(one, odd, two)) == {one, two}


def test_run_with_an_error_leaves_each_to_itself() -> None:
    assert Desk(said({"error": "bad input"}, 400)).run(embedding("a"), embedding("b")) == {}


def test_run_with_too_few_vectors_leaves_each_request_to_itself() -> None:
    assert Desk(vectors(1)).run(embedding("a"), embedding("b")) == {}


def test_run_with_a_busy_ollama_lets_each_wait() -> None:
    conclusions = Desk(said({"error": "server busy"}, 503)).run(embedding("a"), embedding("b"))
    assert [type(conclusion) for conclusion in conclusions.values()] == [Later, Later]


def test_run_with_an_ollama_that_comes_up_is_answered() -> None:
    conclusions = Desk(ServerUnreachableError("down"), vectors(2), watch=Watch(True)).run(
        embedding("a"), embedding("b")
    )
    assert [embeddings(conclusion) for conclusion in conclusions.values()] == [[[0.0]], [[1.0]]]


def test_run_with_an_ollama_that_stays_down_sends_each_to_another_node_once() -> None:
    fresh, returned = embedding("a"), embedding("b", {"count": 1})
    conclusions = Desk(ServerUnreachableError("down"), patience=1.0).run(fresh, returned)
    assert conclusions[fresh] is Verdict.REQUEUE
    assert isinstance(conclusions[returned], Failure)
    assert conclusions[returned].code == "ollama_unavailable"


def test_run_with_a_connection_that_always_breaks_leaves_each_to_itself() -> None:
    desk = Desk(ConnectionLostError("cut"), watch=Watch(True))
    assert desk.run(embedding("a"), embedding("b")) == {}
    assert len(desk.script.requests) == LOST_TRIES + 1


@pytest.mark.parametrize("error", [CallCancelledError("cancelled"), ServerUnreachableError("down")])
def test_run_stopped_meanwhile_gives_all_requests_back(error: Exception) -> None:
    one, two = embedding("a"), embedding("b")

    def stopped() -> Answer:
        one.stop.stop()
        two.stop.stop()
        raise error

    assert Desk(stopped).run(one, two) == {one: Verdict.REQUEUE, two: Verdict.REQUEUE}


def test_run_without_the_requester_of_one_request_serves_the_others() -> None:
    tasks = [embedding("a"), embedding("b"), embedding("c")]
    first, second, third = tasks

    def abandoned() -> Answer:
        first.stop.abandon()
        third.stop.abandon()
        desk.script.calls[0].check()
        return vectors(3)

    desk = Desk(abandoned)
    conclusions = desk.run(*tasks)
    assert (conclusions[first], conclusions[third]) == (Verdict.ACK, Verdict.ACK)
    assert embeddings(conclusions[second]) == [[1.0]]


def test_run_without_any_requester_ends_the_call() -> None:
    one, two = embedding("a"), embedding("b")

    def abandoned() -> Answer:
        one.stop.abandon()
        two.stop.stop()
        desk.script.calls[0].check()
        return vectors(2)

    desk = Desk(abandoned)
    assert desk.run(one, two) == {one: Verdict.ACK, two: Verdict.REQUEUE}


def test_run_stopped_after_a_deadline_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    overdue, other = embedding("a"), embedding("b")  # the worker has answered the first, and does not stop its work

    def stopped() -> Answer:
        monkeypatch.setattr(Task, "seconds_left", property(lambda task: -1.0 if task is overdue else 60.0))
        other.stop.stop()
        desk.script.calls[0].check()
        return vectors(2)

    desk = Desk(stopped)
    assert desk.run(overdue, other)[other] is Verdict.REQUEUE


def test_run_with_an_ollama_that_stays_down_gives_each_request_its_own_verdict() -> None:
    tasks = [embedding("a"), embedding("b", {"count": 1}), embedding("c")]

    def abandoned() -> Answer:
        tasks[0].stop.abandon()
        raise ServerUnreachableError("down")

    conclusions = Desk(abandoned, patience=1.0).run(*tasks)
    assert (conclusions[tasks[0]], conclusions[tasks[2]]) == (Verdict.ACK, Verdict.REQUEUE)
    assert isinstance(conclusions[tasks[1]], Failure)


def test_run_leaves_out_a_request_whose_requester_is_gone() -> None:
    tasks = [embedding("a"), embedding("b"), embedding("c")]
    tasks[0].stop.abandon()
    assert set(Desk(vectors(2)).run(*tasks)) == set(tasks[1:])


def test_run_with_a_defect_costs_nobody_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(vectors(2))
    monkeypatch.setattr("fleet_worker.inference.embed_batch._shares", lambda *_arguments: 1 / 0)
    assert desk.run(embedding("a"), embedding("b")) == {}


@pytest.mark.parametrize("odd", [{"model": [[["x"]]]}, {"total_duration": "9" * 400}, {"x": "\ud800"}])
def test_shared_answer_with_an_odd_field_is_whole_for_each_request(odd: dict[str, Any]) -> None:
    batch = _Batch({"model": "all-minilm"}, [task_of(), task_of()], [["a"], ["b", "c"]])
    result = {"model": "all-minilm", "embeddings": [[1.0], [2.0], [3.0]], "prompt_eval_count": 6, **odd}
    shares = [success.result for _task, success in _shares(batch, result, 0.0, 0.1)]
    assert [share["embeddings"] for share in shares] == [[[1.0]], [[2.0], [3.0]]]
    assert [share["prompt_eval_count"] for share in shares] == [2, 4]
    for share in shares:
        assert share["model"] == "all-minilm"
        assert set(share) <= {"model", "embeddings", "prompt_eval_count", "total_duration", "load_duration"}
        assert share.get("total_duration", 0) == 0
