# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever raises on the I/O thread: each delivery is settled once, and its slot becomes free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest

pytest.importorskip("pika")
pytest.importorskip("prometheus_client")

from fleet_worker._fleet.broker import Address, BrokerSettings
from fleet_worker._fleet.messages import Message, Properties, Reply
from fleet_worker.amqp.registry_publisher import RegistryPublisher
from fleet_worker.domain.publication import Publication
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.inference.circuit_breaker import CircuitBreaker
from fleet_worker.inference.result_cache import ResultCache
from fleet_worker.observe.metrics import Metrics
from fleet_worker.runtime.event_loop import EventLoop
from fleet_worker.runtime.supervisor import Supervisor
from fleet_worker.runtime.systemd import Notifier
from fleet_worker.runtime.watchdog import Watchdog
from fleet_worker.worker.worker import Worker

from ..deliveries import Channel, delivery, lane_settings

LANE = lane_settings()


class Server:
    """Serves each request at once, with no reply."""

    probe = None
    node = "gpu-01"

    def begin(self, *_request: Any) -> bool:
        return False

    def serve(self, *_request: Any, **_more: Any) -> Result:
        fields = {"input_tokens": -1, "output_tokens": 10**400, "seconds": float("nan")}
        return Result(Verdict.ACK, "answered", fields=fields)


class Pool:
    def submit(self, task: Callable[[], None]) -> None:
        task()


@pytest.fixture
def worker() -> Iterator[Worker]:
    loop, notifier = EventLoop(), Notifier()
    settings = BrokerSettings(addresses=(Address("127.0.0.1", 1),))
    yield Worker(
        loop,
        settings=settings,
        lanes=[LANE],
        exchanges=["llm.request"],
        slots=1,
        starvation=10.0,
        batch_bytes=1000,
        results=ResultCache(),
        breaker=CircuitBreaker(3, 30.0, 600.0),
        drain_timeout=1.0,
        server=Server(),  # type: ignore[arg-type]
        pool=Pool(),  # type: ignore[arg-type]
        notifier=notifier,
        watchdog=Watchdog(notifier, Supervisor()),
        announcer=RegistryPublisher(loop, settings, node="gpu-01", slots=1, interval=None),
        metrics=Metrics("gpu-01"),
        ended=lambda _error: None,
    )
    loop.close()


def raises(*_arguments: Any, **_more: Any) -> Any:
    raise RuntimeError("a defect")


def deliver(worker: Worker) -> list[tuple[Any, ...]]:
    """Deliver a request, and return how it was settled."""
    channel = Channel()
    worker._delivered(delivery({"a": 1}, lane=LANE, channel=channel, message_id="m"))
    worker._loop.call_later(0, lambda: None)
    worker._loop.turn()
    worker._loop.call_later(0, lambda: None)
    worker._loop.turn()
    assert worker._scheduler.running == 0, "the slot is free"
    assert worker._jobs == [] and worker._by_identity == {}
    return channel.settled


@pytest.mark.parametrize(
    "part, name",
    [
        ("_metrics", "ended"),
        ("_rates", "add"),
        ("_results", "put"),
        ("_trust", "judge"),
    ],
)
def test_worker_whose_part_raises_settles_the_request_once(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, part: str, name: str
) -> None:
    monkeypatch.setattr(getattr(worker, part), name, raises)
    assert deliver(worker) == [("ack", 1)]


def test_worker_whose_deltas_raise_settles_the_request_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet_worker.worker.worker.DeltaPublisher.finish", raises)
    assert deliver(worker) == [("ack", 1)]


def test_worker_that_cannot_start_a_request_rejects_it_and_serves_the_next(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("fleet_worker.worker.worker.DeltaPublisher", raises)
        assert deliver(worker) == [("reject", 1, False)]
    assert deliver(worker) == [("ack", 1)]


def test_worker_that_cannot_look_a_request_up_rejects_it(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker._results, "get", raises)
    assert deliver(worker) == [("reject", 1, False)]


@pytest.mark.parametrize("outcome, published", [("answered", 1), ("inference_failed", 0)])
@pytest.mark.parametrize("connected", [True, False])
def test_answer_whose_deliveries_are_gone_is_published_while_there_is_a_connection(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, outcome: str, published: int, connected: bool
) -> None:
    """The channel of the consumers was closed in the meantime. An error may still become an answer elsewhere."""
    reply = Reply("", "llm.fleet.reply.a", Message(Properties(), {}, b"{}"))
    sent: list[Reply] = []
    channel = Channel()

    def serve(*_request: Any, **_more: Any) -> Result:
        channel.is_open = False
        return Result(Verdict.ACK, outcome, reply)

    monkeypatch.setattr(worker._server, "serve", serve)
    monkeypatch.setattr(worker._publisher, "publish", lambda sending, _done: sent.append(sending))
    worker._connection = object() if connected else None
    request = delivery({"a": 1}, lane=LANE, channel=channel, message_id="m")
    worker._delivered(request)
    for _turn in range(2):
        worker._loop.call_later(0, lambda: None)
        worker._loop.turn()
    assert len(sent) == (published if connected else 0)
    assert channel.settled == []
    assert (worker._results.get(request.identity) is not None) == bool(published), "it is kept for the redelivery"


def test_answer_that_the_broker_does_not_take_is_followed_by_an_error(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, short = (Reply("", "llm.fleet.reply.a", Message(Properties(type=kind), {}, b"{}")) for kind in "ls")
    told = [Publication.UNACCEPTABLE, Publication.CONFIRMED]
    sent: list[Reply] = []

    def publish(reply: Reply, done: Callable[[Publication], None]) -> None:
        sent.append(reply)
        done(told.pop(0))

    monkeypatch.setattr(worker._server, "serve", lambda *_request, **_more: Result(Verdict.ACK, "answered", large))
    monkeypatch.setattr(
        worker._server,
        "unacceptable",
        lambda _delivery: Result(Verdict.ACK, "payload_too_large", short),
        raising=False,
    )
    monkeypatch.setattr(worker._publisher, "publish", publish)
    assert deliver(worker) == [("ack", 1)]
    assert sent == [large, short]


def test_numbers_that_nobody_can_have_counted_leave_the_metrics_as_they_are(worker: Worker) -> None:
    deliver(worker)
    registry = worker._metrics.registry
    assert registry.get_sample_value("fleet_worker_requests_total", {"lane": LANE.queue, "outcome": "answered"}) == 1
    for direction in ("input", "output"):
        labels = {"lane": LANE.queue, "direction": direction}
        assert registry.get_sample_value("fleet_worker_tokens_total", labels) == 0
    assert registry.get_sample_value("fleet_worker_inference_seconds_count", {"lane": LANE.queue}) in (None, 0)
