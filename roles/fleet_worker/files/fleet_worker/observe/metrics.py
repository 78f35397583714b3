# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of the worker for Prometheus.

Events are counted when they happen, on the I/O thread. The thread of the listener reads the current state from the
worker when Prometheus asks; an I/O thread that does not answer is itself a metric.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from .. import __version__
from ..logs.log import Log
from . import metrics_http
from .counts import CountedEvent, Counts
from .listener import Listener
from .worker_status import LaneReport, WorkerStatus

LOG = Log()

#: Buckets in seconds, from an embedding on a GPU to the longest default deadline of a lane.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1500.0)

#: The most believed seconds or tokens of one request. A larger number is a mistake, and would hide all others in a sum.
LARGEST = 1e9

#: Descriptions of the worker's events whose names do not say enough.
_EVENTS = {
    CountedEvent.CONNECTIONS: "Connections to the broker that were opened; all but the first are reconnects",
    CountedEvent.DELIVERIES: "Requests taken from the broker, redeliveries included",
    CountedEvent.REDELIVERIES: "Requests that the broker delivered again",
    CountedEvent.ANSWERED_AGAIN: "Redelivered or repeated requests whose answer was still there and was sent again",
    CountedEvent.JOINED: "Redelivered requests whose first delivery was still being worked on",
    CountedEvent.MODEL_SWITCHES: "Requests that ran after one for another model, which Ollama may have had to load",
    CountedEvent.BUSY: "Times that a request gave its slot up because Ollama was too busy for it",
    CountedEvent.TRIED_ALONE: "Requests that were tried once more, alone, because the runner of their model had ended",
    CountedEvent.PROBES: (
        "Probes of the worker: tiny requests that show whether Ollama can run a model after failed requests"
    ),
    CountedEvent.MODEL_PAUSES: "Times that the lanes of a model were paused because Ollama cannot run it",
}
_REPLIES = (
    "Published answers by result: confirmed, returned (no such queue), refused (queue full), unacceptable or lost"
)
_REGISTRY_EVENTS = "Events sent to the registry"

#: Returns the state of the worker; None if its I/O thread does not answer. Called from any thread.
Ask = Callable[[], Optional[WorkerStatus]]


class Metrics:
    """The metrics of one worker.

    :param node: the name of the node.
    """

    def __init__(self, node: str) -> None:
        # The creation time would be one more series for each counter and histogram.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests that came to an end, by outcome", "lane", "outcome")
        self._tokens = self._counter("tokens", "Tokens that Ollama has counted", "lane", "direction")
        self._waiting = self._histogram(
            "queue_wait_seconds",
            "Seconds from publishing to delivery, for requests with a timestamp; measured by two clocks, one of them "
            "in whole seconds",
        )
        self._inference = self._histogram("inference_seconds", "Time that Ollama worked on a request")
        self._here = self._histogram("request_seconds", "Time from delivery to the confirmed answer")
        self._series: dict[tuple[Any, tuple[str, ...]], Any] = {}
        self._node = node
        self.listener: Optional[Listener] = None

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"fleet_worker_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"fleet_worker_{name}", text, ["lane"], buckets=BUCKETS, registry=self.registry)

    def ended(self, lane: str, outcome: str, fields: Mapping[str, Any]) -> None:
        """Count a finished request.

        :param fields: the fields of the request's log line.
        """
        self._of(self._requests, lane, outcome).inc()
        for histogram, name in ((self._waiting, "waited"), (self._here, "here"), (self._inference, "seconds")):
            seconds = amount(fields.get(name))
            if seconds is not None:
                self._of(histogram, lane).observe(seconds)
        for direction in ("input", "output"):
            self._of(self._tokens, lane, direction).inc(amount(fields.get(f"{direction}_tokens")) or 0)

    def _of(self, metric: Any, *labels: str) -> Any:
        """Return the series with these labels. The library finds it under a lock, and checks the labels each time."""
        key = (metric, labels)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = metric.labels(*labels)
        return found

    def serve(self, listen: str, ask: Ask) -> None:
        """Start to answer Prometheus. A worker that cannot listen logs the error, and continues.

        :param listen: ``host:port``.
        :param ask: returns the state of the worker.
        """
        self.registry.register(_Standing(self._node, ask))
        try:
            listener = Listener(_bound(listen), self._answer, name="metrics")
            listener.start()
        except (OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
            LOG.warning("no_metrics", listen=listen, error=str(error), remedy="free the address, or choose another")
            return
        self.listener = listener

    def stop(self) -> None:
        """Stop answering."""
        if self.listener is not None:
            self.listener.stop()

    def _answer(self, received: bytes) -> Optional[bytes]:
        return metrics_http.answer(received, self.registry)


def _bound(listen: str) -> socket.socket:
    """Return a socket that is bound to ``host:port``.

    :raises OSError: if the address cannot be used.
    """
    host, _colon, port = listen.rpartition(":")
    family, kind, protocol, _name, address = socket.getaddrinfo(host.strip("[]"), int(port), 0, socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def amount(value: Any) -> Optional[float]:
    """Return a number from another program for a sum; None for an impossible number."""
    if not isinstance(value, (int, float)) or not 0 <= value <= LARGEST:
        return None
    return float(value)


class _Standing(Collector):
    """The state of the worker at the time of the scrape."""

    def __init__(self, node: str, ask: Ask) -> None:
        self._node = node
        self._ask = ask

    def describe(self) -> Iterator[Metric]:
        """Return nothing, so that registering the metrics does not ask the worker."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        status = self._ask()
        yield InfoMetricFamily("fleet_worker", "The worker", value={"version": __version__, "node": self._node})
        yield from _process()
        yield _gauge("io_thread_responding", "1 while the main loop turns", status is not None)
        if status is None:
            return
        yield _gauge("start_time_seconds", "When the worker was started, in seconds since 1970", status.since)
        for name, text in (
            ("ready", "1 once the worker has come up"),
            ("connected", "1 while there is a connection to the broker"),
            ("blocked", "1 while the broker has an alarm and takes no answers"),
            ("draining", "1 while the worker takes no more work"),
            ("ollama_up", "1 while Ollama answers"),
            ("slots", "Requests that may run at the same time"),
            ("held", "Requests that were taken and wait for a slot"),
        ):
            yield _gauge(name, text, getattr(status, name))
        yield from _lanes(status.lanes)
        yield from _counted(status.counts)


def _lanes(lanes: Sequence[LaneReport]) -> Iterator[Metric]:
    states = GaugeMetricFamily("fleet_worker_lanes", "Number of lanes by state", labels=["state"])
    for name in ("push", "pull", "paused", "degraded"):
        states.add_metric([name], sum(lane.state == name for lane in lanes))
    yield states
    taking = GaugeMetricFamily(
        "fleet_worker_lane_served", "1 while the lane is served, 0 while it is paused", labels=["lane"]
    )
    running = GaugeMetricFamily("fleet_worker_in_flight", "Requests of the lane that are being served", labels=["lane"])
    labels = ["lane", "model", "type", "style"]
    about = GaugeMetricFamily("fleet_worker_lane_info", "Model, type and style of a lane; always 1", labels=labels)
    for lane in lanes:
        taking.add_metric([lane.queue], lane.state in ("push", "pull"))
        running.add_metric([lane.queue], lane.running)
        about.add_metric([lane.queue, lane.model, lane.type, lane.style], 1)
    yield from (taking, running, about)


def _counted(counts: Counts) -> Iterator[Metric]:
    for event, number in counts.events.items():
        text = _EVENTS.get(event, event.value.replace("_", " ").capitalize())
        yield CounterMetricFamily(f"fleet_worker_{event.value}", text, value=number)
    replies = {publication.value: number for publication, number in counts.replies.items()}
    for name, label, text, numbers in (
        ("replies", "result", _REPLIES, replies),
        ("registry_events", "event", _REGISTRY_EVENTS, counts.registry_events),
    ):
        family = CounterMetricFamily(f"fleet_worker_{name}", text, labels=[label])
        for value, number in numbers.items():
            family.add_metric([value], number)
        if numbers:
            yield family


def _process() -> Iterator[Metric]:
    """Metrics of the process. The collector of prometheus_client needs files that the sandbox hides."""
    yield CounterMetricFamily("process_cpu_seconds", "CPU time of the process", value=time.process_time())
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            pages = int(statm.read().split()[1])
    except (OSError, ValueError, IndexError):
        return
    size = pages * os.sysconf("SC_PAGE_SIZE")
    yield GaugeMetricFamily("process_resident_memory_bytes", "Memory of the process that is in RAM", value=size)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"fleet_worker_{name}", text, value=float(value))
