# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from fleet_gateway import __version__
from fleet_gateway.observe.metrics import Metrics
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(metrics: Metrics) -> Samples:
    """Return the samples of a scrape by their names and the values of their labels, sorted by the labels' names."""
    return {
        (sample.name, tuple(value for _name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(list, node="front-01")


def test_ended_requests_are_counted_by_path_and_status(metrics: Metrics) -> None:
    for status, seconds in ((200, 0.3), (200, 20.0), (499, 1.0)):
        metrics.ended("/api/chat", status, seconds)
    found = samples(metrics)
    assert found["fleet_gateway_requests_total", ("/api/chat", "200")] == 2
    assert found["fleet_gateway_requests_total", ("/api/chat", "499")] == 1
    assert found["fleet_gateway_request_seconds_count", ("/api/chat",)] == 3
    assert found["fleet_gateway_request_seconds_sum", ("/api/chat",)] == pytest.approx(21.3)
    assert found["fleet_gateway_request_seconds_bucket", ("0.5", "/api/chat")] == 1
    assert not any(name.startswith("fleet_gateway_first_byte") for name, _labels in found)


def test_first_byte_is_not_the_end_of_a_request(metrics: Metrics) -> None:
    metrics.first_byte("/api/chat", 0.02)
    found = samples(metrics)
    assert found["fleet_gateway_first_byte_seconds_bucket", ("0.025", "/api/chat")] == 1
    assert found["fleet_gateway_first_byte_seconds_bucket", ("0.01", "/api/chat")] == 0
    assert not any(name.startswith("fleet_gateway_request") for name, _labels in found)


def test_used_tokens_are_counted_by_their_direction(metrics: Metrics) -> None:
    metrics.used("alice", "m:1", 3, 2)
    metrics.used("alice", "m:1", 10, 0)
    found = samples(metrics)
    assert found["fleet_gateway_tokens_total", ("input", "alice", "m:1")] == 13
    assert found["fleet_gateway_tokens_total", ("output", "alice", "m:1")] == 2


def test_turns_are_counted_by_place(metrics: Metrics) -> None:
    for place in ("home", "home", "lane"):
        metrics.turn(place)
    found = samples(metrics)
    assert found["fleet_gateway_turns_total", ("home",)] == 2
    assert found["fleet_gateway_turns_total", ("lane",)] == 1


def test_gauges_are_read_at_each_scrape_and_not_before() -> None:
    reads: list[float] = []

    def gauges() -> Iterable[tuple[str, str, float]]:
        reads.append(len(reads) + 1.0)
        yield "waiting", "Requests that wait.", reads[-1]

    metrics = Metrics(gauges, node="front-01")
    assert reads == [], "the gateway is still being built"
    assert [samples(metrics)["fleet_gateway_waiting", ()] for _scrape in range(2)] == [1, 2]


def test_text_names_the_gateway_and_its_version(metrics: Metrics) -> None:
    assert samples(metrics)["fleet_gateway_info", ("front-01", __version__)] == 1


def test_metrics_of_two_gateways_in_one_process_stay_apart(metrics: Metrics) -> None:
    Metrics(list, node="front-02").turn("home")
    assert ("fleet_gateway_turns_total", ("home",)) not in samples(metrics)
