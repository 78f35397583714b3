# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outcome of a request is in the log, the counts, the metrics and the rates."""

from __future__ import annotations

from collections import Counter
from typing import Any, Optional

import pytest
from fleet_worker.domain.publication import Publication
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.observe import recorder as recorder_module
from fleet_worker.observe.counts import CountedEvent
from fleet_worker.observe.metrics import Metrics
from fleet_worker.observe.recorder import RequestRecorder

from ..deliveries import delivery

ANSWERED = Result(Verdict.ACK, "answered", fields={"seconds": 2.0, "output_tokens": 5})


class Book:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.metrics = Metrics("gpu-01")
        self.recorder = RequestRecorder(self.metrics)
        self.lines: list[tuple[str, str, dict[str, Any]]] = []
        for level in ("info", "warning"):
            monkeypatch.setattr(recorder_module.LOG, level, self._line(level))

    def _line(self, level: str) -> Any:
        return lambda event, **fields: self.lines.append((level, event, fields))

    def counts(self) -> dict[str, int]:
        return self.recorder.counts(Counter({"refused": 1})).document()

    def requests(self, outcome: str) -> Optional[float]:
        labels = {"lane": delivery().lane.queue, "outcome": outcome}
        return self.metrics.registry.get_sample_value("fleet_worker_requests_total", labels)


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Book:
    return Book(monkeypatch)


@pytest.mark.parametrize(
    "publication, level, failures",
    [
        (None, "info", 0.0),
        (Publication.CONFIRMED, "info", 0.0),
        (Publication.REFUSED, "warning", 1.0),
        (Publication.UNACCEPTABLE, "warning", 1.0),
        (Publication.LOST, "warning", 1.0),
    ],
)
def test_settled_by_what_became_of_the_answer_is_a_success_or_a_failure(
    book: Book, publication: Optional[Publication], level: str, failures: float
) -> None:
    book.recorder.settled(delivery(), ANSWERED, publication)
    ((logged, event, fields),) = book.lines
    assert (logged, event, fields["outcome"], fields["seconds"]) == (level, "request", "answered", 2.0)
    assert fields["reply"] == (publication.value if publication else None)
    assert book.requests("connection_lost" if publication is Publication.LOST else "answered") == 1
    rate = book.recorder.rates()["1m"]
    assert (rate["requests_per_second"], rate["failures_per_second"]) == (1.0, failures)
    assert book.recorder.answered(delivery().lane.queue) == 1 - failures
    assert book.recorder.answered("another") == 0


def test_settled_with_a_lost_answer_is_a_lost_connection_for_counts_and_metrics(book: Book) -> None:
    book.recorder.settled(delivery(), ANSWERED, Publication.LOST)
    assert (book.requests("connection_lost"), book.requests("answered")) == (1, None)
    assert book.counts() == {"outcome:connection_lost": 1, "registry_events:refused": 1, "reply:lost": 1}


def test_answer_from_the_cache_counts_the_request_and_no_work_of_ollama(book: Book) -> None:
    """The confirm of the first publication was lost, and the broker has redelivered the request."""
    whole = Result(Verdict.ACK, "answered", fields={"seconds": 2.0, "input_tokens": 3, "output_tokens": 5, "id": "c"})
    book.recorder.settled(delivery(), whole, Publication.LOST)
    book.recorder.settled(delivery(count=1), whole.again(), Publication.CONFIRMED)
    assert (book.requests("connection_lost"), book.requests("answered_again")) == (1, 1)
    lane = {"lane": delivery().lane.queue}
    value = book.metrics.registry.get_sample_value
    assert value("fleet_worker_tokens_total", {**lane, "direction": "input"}) == 3
    assert value("fleet_worker_tokens_total", {**lane, "direction": "output"}) == 5
    assert value("fleet_worker_inference_seconds_count", lane) == 1
    rate = book.recorder.rates()["1m"]
    assert (rate["output_tokens_per_second"], rate["failures_per_second"]) == (5.0, 1.0)
    (_first, (level, _event, line)) = book.lines
    assert (level, line["outcome"], line["id"]) == ("info", "answered_again", "c") and "output_tokens" not in line


def test_abandoned_is_logged_and_counted_as_a_lost_connection(book: Book) -> None:
    book.recorder.abandoned(delivery(), ANSWERED)
    assert book.lines[0][2]["reply"] == "lost"
    assert book.counts() == {"outcome:connection_lost": 1, "registry_events:refused": 1}
    assert book.requests("connection_lost") == 1


def test_started_counts_batches_and_changes_of_the_model(book: Book) -> None:
    for model, number in (("a", 1), ("a", 3), ("b", 1), ("a", 2)):
        book.recorder.started(model, number)
    counted = book.counts()
    assert (counted["batched"], counted["model_switches"]) == (5, 2)


def test_arrived_counts_what_was_given_out_before(book: Book) -> None:
    book.recorder.arrived(delivery())
    assert book.counts()["redeliveries"] == 0
    book.recorder.arrived(delivery(count=2))
    assert (book.counts()["deliveries"], book.counts()["redeliveries"]) == (2, 1)


def test_settled_whose_metrics_raise_is_counted_all_the_same(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_arguments: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(book.metrics, "ended", raises)
    book.recorder.settled(delivery(), ANSWERED, None)
    assert book.counts()["outcome:answered"] == 1


def test_counts_of_a_moment_do_not_change_later(book: Book) -> None:
    taken = book.recorder.counts(Counter())
    book.recorder.count(CountedEvent.DELTAS)
    assert taken.document() == {}


def test_settled_with_numbers_that_nobody_can_have_counted_leaves_the_rates_readable(book: Book) -> None:
    odd = Result(Verdict.ACK, "answered", fields={"seconds": float("nan"), "output_tokens": 10**400})
    book.recorder.settled(delivery(), odd, None)
    rate = book.recorder.rates()["1m"]
    assert (rate["requests_per_second"], rate["output_tokens_per_second"]) == (1.0, 0.0)
    assert rate["mean_inference_seconds"] == 0.0
