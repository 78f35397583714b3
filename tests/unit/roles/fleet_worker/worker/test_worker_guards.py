# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever raises on the I/O thread: each delivery is settled once, and its slot becomes free."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any, Callable

import pytest

pytest.importorskip("prometheus_client")

from fleet_worker._fleet.broker import Address, BrokerSettings
from fleet_worker._fleet.messages import Message, Properties, Reply
from fleet_worker.amqp.registry_publisher import RegistrySettings
from fleet_worker.domain.publication import Publication
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.inference.circuit_breaker import BreakerSettings
from fleet_worker.observe.metrics import Metrics
from fleet_worker.observe.recorder import RequestRecorder
from fleet_worker.runtime.event_loop import EventLoop
from fleet_worker.runtime.supervisor import Supervisor
from fleet_worker.runtime.systemd import Notifier
from fleet_worker.runtime.watchdog import Watchdog
from fleet_worker.worker.settings import WorkerSettings
from fleet_worker.worker.worker import Worker

from ..deliveries import Channel, delivery, lane_settings

LANE = lane_settings()
TOO_LARGE = Result(
    Verdict.ACK, "payload_too_large", Reply("", "llm.fleet.reply.a", Message(Properties(type="s"), {}, b"{}"))
)


class Server:
    """Serves each request at once, with no reply."""

    probe = used_up = None

    def unacceptable(self, _delivery: Any) -> Result:
        return TOO_LARGE

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
    loop = EventLoop()
    settings = WorkerSettings(
        broker=BrokerSettings(addresses=(Address("127.0.0.1", 1),)),
        lanes=(LANE,),
        exchanges=("llm.request",),
        registry=RegistrySettings("gpu-01", slots=1),
        breaker=BreakerSettings(3, 30.0, 600.0),
        starvation=10.0,
        batch_bytes=1000,
        drain_timeout=1.0,
    )
    yield Worker(
        loop,
        settings,
        Server(),  # type: ignore[arg-type]
        Pool(),  # type: ignore[arg-type]
        RequestRecorder(Metrics("gpu-01")),
        Watchdog(Notifier(), Supervisor()),
        ended=lambda _error: None,
    )
    loop.close()


def raises(*_arguments: Any, **_more: Any) -> Any:
    raise RuntimeError("a defect")


def deliver(worker: Worker) -> list[tuple[Any, ...]]:
    """Deliver a request, and return how it was settled."""
    channel = Channel()
    worker.delivered(delivery({"a": 1}, lane=LANE, channel=channel, message_id="m"))
    worker._loop.call_later(0, lambda: None)
    worker._loop.turn()
    worker._loop.call_later(0, lambda: None)
    worker._loop.turn()
    assert worker._scheduler.running == 0, "the slot is free"
    assert not worker._requests and not worker._requests._by_identity
    return channel.settled


@pytest.mark.parametrize(
    "part, name",
    [
        ("_recorder._metrics", "ended"),
        ("_recorder._rates", "add"),
        ("_requests._cache", "put"),
        ("_flow._trust", "judge"),
    ],
)
def test_worker_whose_part_raises_settles_the_request_once(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, part: str, name: str
) -> None:
    monkeypatch.setattr(attrgetter(part)(worker), name, raises)
    assert deliver(worker) == [("ack", 1)]


def test_worker_whose_deltas_raise_settles_the_request_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet_worker.inference.in_flight.DeltaPublisher.finish", raises)
    assert deliver(worker) == [("ack", 1)]


def test_worker_that_cannot_start_a_request_rejects_it_and_serves_the_next(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("fleet_worker.inference.in_flight.DeltaPublisher", raises)
        assert deliver(worker) == [("reject", 1, False)]
    assert deliver(worker) == [("ack", 1)]


def test_worker_that_cannot_look_a_request_up_rejects_it(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker._requests._cache, "get", raises)
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

    monkeypatch.setattr(worker._flow._runner._handler, "serve", serve)
    monkeypatch.setattr(worker._session.publisher, "publish", lambda sending, _done: sent.append(sending))
    monkeypatch.setattr(worker._session._link, "_connected", connected)
    request = delivery({"a": 1}, lane=LANE, channel=channel, message_id="m")
    worker.delivered(request)
    for _turn in range(2):
        worker._loop.call_later(0, lambda: None)
        worker._loop.turn()
    assert len(sent) == (published if connected else 0)
    assert channel.settled == []
    assert (worker._requests._cache.get(request.identity) is not None) == bool(published), (
        "it is kept for the redelivery"
    )


def test_answer_that_the_broker_does_not_take_is_followed_by_an_error(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Reply("", "llm.fleet.reply.a", Message(Properties(type="l"), {}, b"{}"))
    told = [Publication.UNACCEPTABLE, Publication.CONFIRMED]
    sent: list[Reply] = []

    def publish(reply: Reply, done: Callable[[Publication], None]) -> None:
        sent.append(reply)
        done(told.pop(0))

    monkeypatch.setattr(
        worker._flow._runner._handler, "serve", lambda *_request, **_more: Result(Verdict.ACK, "answered", large)
    )
    monkeypatch.setattr(worker._session.publisher, "publish", publish)
    assert deliver(worker) == [("ack", 1)]
    assert sent == [large, TOO_LARGE.reply]


def test_numbers_that_nobody_can_have_counted_leave_the_metrics_as_they_are(worker: Worker) -> None:
    deliver(worker)
    registry = worker._recorder._metrics.registry
    assert registry.get_sample_value("fleet_worker_requests_total", {"lane": LANE.queue, "outcome": "answered"}) == 1
    for direction in ("input", "output"):
        labels = {"lane": LANE.queue, "direction": direction}
        assert registry.get_sample_value("fleet_worker_tokens_total", labels) == 0
    assert registry.get_sample_value("fleet_worker_inference_seconds_count", {"lane": LANE.queue}) in (None, 0)
