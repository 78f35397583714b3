# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

from .. import __version__

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The metrics of one gateway.

    :param gauges: returns the name, help and current value of each gauge.
    :param node: name of the gateway.
    """

    def __init__(self, gauges: Callable[[], Iterable[tuple[str, str, float]]], *, node: str) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fleet_gateway_requests", "Requests by path and status.", ["path", "status"], registry=self._registry
        )
        self._tokens = Counter(
            "fleet_gateway_tokens",
            "Tokens by key, model and direction.",
            ["key", "model", "direction"],
            registry=self._registry,
        )
        self._turns = Counter(
            "fleet_gateway_turns",
            "Answered turns of conversations by place: home (the node of the conversation), next, lane (any node).",
            ["place"],
            registry=self._registry,
        )
        self._first = Histogram(
            "fleet_gateway_first_byte_seconds",
            "Seconds to the first byte of an answer.",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._whole = Histogram(
            "fleet_gateway_request_seconds",
            "Seconds to the end of an answer.",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._registry.register(_State(gauges, node))

    def ended(self, path: str, status: int, seconds: float) -> None:
        """Count a request that has ended."""
        self._requests.labels(path, str(status)).inc()
        self._whole.labels(path).observe(seconds)

    def first_byte(self, path: str, seconds: float) -> None:
        """Record the time to the first byte of an answer."""
        self._first.labels(path).observe(seconds)

    def used(self, key: str, model: str, input_tokens: int, output_tokens: int) -> None:
        """Count the tokens of a request."""
        self._tokens.labels(key, model, "input").inc(input_tokens)
        self._tokens.labels(key, model, "output").inc(output_tokens)

    def turn(self, place: str) -> None:
        """Count an answered turn of a conversation."""
        self._turns.labels(place).inc()

    def text(self) -> bytes:
        """Return all metrics in the format of Prometheus."""
        return generate_latest(self._registry)


class _State:
    """The state of the gateway at the time of the scrape."""

    def __init__(self, gauges: Callable[[], Iterable[tuple[str, str, float]]], node: str) -> None:
        self._gauges = gauges
        self._node = node

    def describe(self) -> Iterable[Any]:
        """Return nothing, so that registering the metrics does not ask the gateway, which is being built."""
        return ()

    def collect(self) -> Iterable[Any]:
        yield InfoMetricFamily("fleet_gateway", "The gateway", value={"version": __version__, "node": self._node})
        for name, text, value in self._gauges():
            yield GaugeMetricFamily(f"fleet_gateway_{name}", text, value=value)
