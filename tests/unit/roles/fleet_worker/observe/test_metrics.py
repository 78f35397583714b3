# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics: impossible numbers, the state at a scrape, and an address that cannot be used."""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import replace
from typing import Any, Optional

import pytest
from fleet_worker.observe import metrics as metrics_module
from fleet_worker.observe.counts import CountedEvent, Counts
from fleet_worker.observe.metrics import LARGEST, Metrics, amount
from fleet_worker.observe.worker_status import WorkerStatus

from .test_monitoring import STATUS


@pytest.mark.parametrize(
    "value, expected",
    [(0, 0.0), (3, 3.0), (LARGEST, LARGEST), (2 * LARGEST, None), (-1, None), (float("nan"), None), ("3", None)],
)
def test_amount_of_an_impossible_number_is_none(value: Any, expected: Optional[float]) -> None:
    assert amount(value) == expected


def scraped(metrics: Metrics, name: str, **labels: str) -> Optional[float]:
    return metrics.registry.get_sample_value(f"fleet_worker_{name}", labels)


def test_ended_counts_the_outcome_and_only_the_possible_numbers() -> None:
    metrics = Metrics("gpu-01")
    metrics.ended("q", "answered", {"waited": -1.0, "here": 2.0, "input_tokens": 7, "output_tokens": "many"})
    metrics.ended("q", "answered", {"here": 0.5})
    assert scraped(metrics, "requests_total", lane="q", outcome="answered") == 2
    assert scraped(metrics, "request_seconds_sum", lane="q") == 2.5
    assert scraped(metrics, "queue_wait_seconds_count", lane="q") is None
    assert scraped(metrics, "tokens_total", lane="q", direction="input") == 7
    assert scraped(metrics, "tokens_total", lane="q", direction="output") == 0


def served(monkeypatch: pytest.MonkeyPatch, status: Optional[WorkerStatus]) -> Metrics:
    """Return metrics that show a state, without a listener."""

    def refused(_listen: str) -> socket.socket:
        raise OSError("in use")

    monkeypatch.setattr(metrics_module, "_bound", refused)
    metrics = Metrics("gpu-01")
    metrics.serve("127.0.0.1:1", lambda: status)
    return metrics


@pytest.mark.parametrize("state, taking", [("push", 1.0), ("pull", 1.0), ("paused", 0.0), ("degraded", 0.0)])
def test_lane_is_counted_in_its_state(monkeypatch: pytest.MonkeyPatch, state: str, taking: float) -> None:
    status = replace(STATUS, lanes=(replace(STATUS.lanes[0], state=state),))
    metrics = served(monkeypatch, status)
    assert scraped(metrics, "lane_served", lane="q") == taking
    for name in ("push", "pull", "paused", "degraded"):
        assert scraped(metrics, "lanes", state=name) == (name == state)


def test_scrape_without_an_answer_of_the_worker_shows_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = served(monkeypatch, None)
    assert scraped(metrics, "io_thread_responding") == 0
    assert scraped(metrics, "ready") is None
    assert scraped(served(monkeypatch, STATUS), "io_thread_responding") == 1


def test_scrape_leaves_out_counts_that_never_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts(events=Counter({CountedEvent.BUSY: 3}))
    metrics = served(monkeypatch, replace(STATUS, counts=counts))
    assert scraped(metrics, "busy_total") == 3
    names = {family.name for family in metrics.registry.collect()}
    assert not names & {"fleet_worker_replies", "fleet_worker_registry_events", "fleet_worker_probes"}


def test_scrape_without_proc_has_no_memory_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = served(monkeypatch, None)
    memory = metrics.registry.get_sample_value("process_resident_memory_bytes")
    assert memory is not None and memory > 1e6

    def hidden(*_arguments: Any, **_options: Any) -> Any:
        raise FileNotFoundError("/proc is hidden")

    monkeypatch.setattr("builtins.open", hidden)
    assert metrics.registry.get_sample_value("process_resident_memory_bytes") is None


@pytest.mark.parametrize("listen", ["{taken}", f"{'x' * 70}.example:1"])
def test_serve_at_an_address_that_cannot_be_used_logs_it_and_stops_without_a_listener(
    monkeypatch: pytest.MonkeyPatch, listen: str
) -> None:
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr(
        metrics_module.LOG, "warning", lambda event, **fields: logged.append({"event": event, **fields})
    )
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        host, port = sock.getsockname()
        metrics = Metrics("gpu-01")
        metrics.serve(listen.format(taken=f"{host}:{port}"), lambda: None)
    metrics.stop()
    assert [line["event"] for line in logged] == ["no_metrics"] and metrics.listener is None


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0"])
def test_serve_answers_prometheus_until_it_stops(listen: str) -> None:
    metrics = Metrics("gpu-01")
    metrics.serve(listen, lambda: None)
    assert metrics.listener is not None
    metrics.stop()
    answer = metrics._answer(b"GET /metrics HTTP/1.1\r\n\r\n")
    assert answer is not None and b"fleet_worker_io_thread_responding 0.0" in answer
