# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The literal registry events, as the ledger of LegionIO finds them in its queue.

The messages are typed out as lex-ollama 0.3.8 with lex-llm 0.1.6 sends them; nothing of the collection is imported.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional

import pika
import pytest

QUEUE = "llm.registry.availability"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

CHAT = {"type": "chat", "model": "qwen3.5:27b", "style": "shared", "context_window": 32768, "consumer_priority": 10}
GENERATE = {"type": "generate", "model": "qwen3.5:27b"}
EMBED = {"type": "embed", "model": "All-MiniLM:latest", "style": "offering"}

CHAT_LANE = "llm.fleet.inference.qwen3-5-27b.ctx32768"
GENERATE_LANE = "llm.request.ollama.generate.qwen3.5.27b"
EMBED_LANE = "llm.fleet.offering.gpu-01.all-minilm-latest.embed"


class Tags(ThreadingHTTPServer):
    """An Ollama that has models and answers every chat."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models = ["qwen3.5:27b", "all-minilm:latest"]
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Tags

    def log_message(self, *_arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer({"models": [{"name": name, "model": name} for name in self.server.models]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({"model": "qwen3.5:27b", "response": "Once", "done": True, "done_reason": "stop"})

    def _answer(self, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def ollama() -> Iterator[Tags]:
    server = Tags()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Ledger:
    """The ledger: a queue on the exchange that the broker's set-up declared."""

    def __init__(self, amqp_url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        self.channel = self._connection.channel()
        self.channel.exchange_declare("llm.registry", "topic", durable=True)
        self.channel.queue_declare(QUEUE, durable=True)
        self.channel.queue_bind(QUEUE, "llm.registry", "llm.registry.#")
        self.channel.queue_purge(QUEUE)

    def next(self, event: str = "", lane: str = "", within: float = 30.0) -> tuple[Any, Any, dict[str, Any]]:
        """The next event, or the next one of a kind and a lane; other events are skipped."""
        deadline = time.monotonic() + within
        seen = []
        while time.monotonic() < deadline:
            method, properties, content = self.channel.basic_get(QUEUE, auto_ack=True)
            if method is None:
                self._connection.sleep(0.02)
                continue
            body = json.loads(content)
            if event in ("", body["event_type"]) and lane in ("", body.get("lane")):
                return method, properties, body
            seen.append((body["event_type"], body.get("lane")))
        raise AssertionError(f"no {event or 'event'} of {lane or 'any lane'} within {within} s, but {seen}")

    def left(self) -> list[str]:
        """The kinds of all waiting events."""
        found = []
        while (got := self.channel.basic_get(QUEUE, auto_ack=True))[0] is not None:
            found.append(json.loads(got[2])["event_type"])
        return found

    def close(self) -> None:
        self.channel.queue_delete(QUEUE)
        self._connection.close()


@pytest.fixture
def ledger(broker_with_topology: Any) -> Iterator[Ledger]:
    ledger = Ledger(broker_with_topology.amqp_url)
    yield ledger
    ledger.close()


@contextlib.contextmanager
def worker(start_worker: Any, broker: Any, ollama: Tags, *lanes: Any, **others: Any) -> Iterator[Path]:
    """A worker of some lanes; the queues that it leaves are taken away."""
    with start_worker(
        broker, node="gpu-01", ollama={"host": ollama.url, "interval": 0.5}, concurrency=3, lanes=list(lanes), **others
    ) as log:
        yield log
    connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
    for queue in (CHAT_LANE, GENERATE_LANE, EMBED_LANE):
        connection.channel().queue_delete(queue)
    connection.close()


def set_properties(properties: pika.BasicProperties) -> dict[str, Any]:
    names = (
        "content_type content_encoding delivery_mode priority correlation_id reply_to expiration message_id timestamp"
        " type user_id app_id cluster_id"
    )
    return {name: value for name in names.split() if (value := getattr(properties, name)) is not None}


def offering(
    lane: str, style: str, model: str, usage: str, capability: str, offering_id: str, limits: dict[str, Any]
) -> dict[str, Any]:
    return {
        "offering_id": offering_id,
        "provider_family": "ollama",
        "model_family": None,
        "provider_instance": "gpu-01",
        "instance_id": "gpu-01",
        "transport": "rabbitmq",
        "tier": "fleet",
        "model": model,
        "canonical_model_alias": model,
        "routing_metadata": {"lane": lane},
        "usage_type": usage,
        "capabilities": [capability],
        "limits": limits,
        "health": {},
        "cost": {},
        "policy_tags": [],
        "metadata": {"lex": "ollama", "lane_style": style},
    }


EXPECTED: dict[str, dict[str, Any]] = {
    CHAT_LANE: {
        "offering": offering(
            CHAT_LANE,
            "shared",
            "qwen3.5:27b",
            "inference",
            "chat",
            "ollama:gpu-01:inference:qwen3-5-27b",
            {"context_window": 32768},
        ),
        "capacity": {"concurrency": 3, "consumer_priority": 10, "queue_max_length": 100},
        "metadata": {
            "extension": "lex_ollama",
            "request_type": "chat",
            "lane_kind": "inference",
            "carried": 1,
            "worker_version": "1.0.0",
        },
    },
    GENERATE_LANE: {
        "offering": offering(
            GENERATE_LANE,
            "model",
            "qwen3.5:27b",
            "inference",
            "completion",
            "ollama:gpu-01:inference:qwen3-5-27b",
            {},
        ),
        "capacity": {"concurrency": 3, "consumer_priority": 0, "queue_max_length": None},
        "metadata": {
            "extension": "lex_ollama",
            "request_type": "generate",
            "lane_kind": "inference",
            "carried": 1,
            "worker_version": "1.0.0",
        },
    },
    EMBED_LANE: {
        "offering": offering(
            EMBED_LANE,
            "offering",
            "All-MiniLM:latest",
            "embedding",
            "embedding",
            "ollama:gpu-01:embedding:all-minilm-latest",
            {},
        ),
        "capacity": {"concurrency": 3, "consumer_priority": 0, "queue_max_length": 100},
        "metadata": {
            "extension": "lex_ollama",
            "request_type": "embed",
            "lane_kind": "embed",
            "carried": 1,
            "worker_version": "1.0.0",
        },
    },
}


def check(got: tuple[Any, Any, dict[str, Any]], event: str, lane: str, health: dict[str, Any]) -> None:
    method, properties, body = got
    assert (method.exchange, method.routing_key) == ("llm.registry", f"llm.registry.{event}")
    properties_set = set_properties(properties)
    assert properties_set.pop("app_id") not in ("", "lex-ollama")
    assert properties_set == {"content_type": "application/json", "type": "llm.registry.event", "delivery_mode": 1}
    assert properties.headers == {"legion_protocol_version": "2.0"}
    assert UUID.fullmatch(body.pop("event_id"))
    moment = body.pop("occurred_at")
    assert MOMENT.fullmatch(moment)
    age = datetime.now(timezone.utc) - datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%f%z")
    assert -1 < age.total_seconds() < 60
    assert body == {
        "event_type": event,
        "runtime": {"node": "gpu-01", "scheduler": "subscription", "polling": False},
        "health": health,
        "lane": lane,
        **EXPECTED[lane],
    }


def test_worker_from_start_to_stop_publishes_these_events_literally(
    broker_with_topology: Any, ollama: Tags, start_worker: Any, ledger: Ledger
) -> None:
    available = {"ready": True, "status": "available"}
    lanes = {CHAT_LANE, GENERATE_LANE, EMBED_LANE}
    with worker(start_worker, broker_with_topology, ollama, CHAT, GENERATE, EMBED, registry={"heartbeat_interval": 2}):
        first = [ledger.next() for _lane in lanes]
        assert {got[2]["lane"] for got in first} == lanes
        for got in first:
            check(got, "offering_available", got[2]["lane"], available)
        for _round in range(2):
            beats = [ledger.next() for _lane in lanes]
            assert {got[2]["lane"] for got in beats} == lanes
            for got in beats:
                check(got, "offering_heartbeat", got[2]["lane"], available)
    last = [ledger.next("offering_unavailable") for _lane in lanes]
    assert {got[2]["lane"] for got in last} == lanes
    for got in last:
        check(got, "offering_unavailable", got[2]["lane"], {"ready": False, "status": "unavailable"})


def test_lane_by_default_is_announced_every_30_seconds(
    broker_with_topology: Any, ollama: Tags, start_worker: Any, ledger: Ledger
) -> None:
    with worker(start_worker, broker_with_topology, ollama, GENERATE):
        ledger.next("offering_available")
        first = ledger.next("offering_heartbeat", within=60)  # at a moment of the node's own
        second = ledger.next("offering_heartbeat", within=60)
        moments = [datetime.strptime(got[2]["occurred_at"], "%Y-%m-%dT%H:%M:%S.%f%z") for got in (first, second)]
        assert 29 < (moments[1] - moments[0]).total_seconds() < 55


def test_lane_that_is_not_served_is_announced_degraded_until_it_recovers(
    broker_with_topology: Any, ollama: Tags, start_worker: Any, ledger: Ledger
) -> None:
    ollama.models = ["qwen3.5:27b"]
    with worker(start_worker, broker_with_topology, ollama, CHAT, EMBED, registry={"heartbeat_interval": 2}):
        for _time in range(2):  # and stays so, instead of a heartbeat
            got = ledger.next(lane=EMBED_LANE)
            error = got[2]["health"].pop("error")
            assert error == "Ollama does not have the model All-MiniLM:latest"
            health = {"ready": False, "status": "degraded", "error_class": "model_not_loaded"}
            check(got, "offering_degraded", EMBED_LANE, health)
        ledger.next("offering_heartbeat", CHAT_LANE)
        ollama.models = ["qwen3.5:27b", "all-minilm:latest"]
        ledger.next("offering_available", EMBED_LANE, within=60)
        ledger.next("offering_heartbeat", EMBED_LANE)


def test_worker_without_the_registry_exchange_still_works(
    broker_with_topology: Any, ollama: Tags, start_worker: Any
) -> None:
    """Without the exchange, as a broker is that was set up before there were events."""
    connection = pika.BlockingConnection(pika.URLParameters(broker_with_topology.amqp_url))
    channel = connection.channel()
    channel.exchange_delete("llm.registry")
    with worker(start_worker, broker_with_topology, ollama, GENERATE, registry={"heartbeat_interval": 1}) as log:
        deadline = time.monotonic() + 30
        while "registry_refused" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        (line,) = [line for line in log.read_text().splitlines() if "registry_refused" in line]
        assert "The exchange 'llm.registry' does not exist" in line
        reply_to = "llm.fleet.reply.0123456789abcdef"
        channel.queue_declare(reply_to, auto_delete=True)
        channel.basic_publish(
            "llm.request",
            GENERATE_LANE,
            b'{"prompt": "Tell"}',
            pika.BasicProperties(reply_to=reply_to, correlation_id="c-1", type="llm.fleet.request"),
        )
        answer: Optional[bytes] = None
        while answer is None and time.monotonic() < deadline:
            answer = channel.basic_get(reply_to, auto_ack=True)[2]
            connection.sleep(0.02)
        assert answer is not None
        assert json.loads(answer)["message"]["content"] == "Once"
    channel.queue_delete(reply_to)
    connection.close()


def test_worker_with_the_registry_disabled_publishes_nothing(
    broker_with_topology: Any, ollama: Tags, start_worker: Any, ledger: Ledger
) -> None:
    with worker(
        start_worker,
        broker_with_topology,
        ollama,
        GENERATE,
        registry={"enabled": False, "heartbeat_interval": 1},
    ):
        time.sleep(2.5)
    assert ledger.channel.basic_get(QUEUE, auto_ack=True)[0] is None


def test_worker_that_is_killed_publishes_nothing_more(
    broker_with_topology: Any, ollama: Tags, start_worker: Any, ledger: Ledger
) -> None:
    with worker(start_worker, broker_with_topology, ollama, GENERATE, registry={"heartbeat_interval": 1}) as log:
        ledger.next("offering_heartbeat")
        found = subprocess.run(
            ["pgrep", "-f", str(log.parent / "fleet-worker.yml")], check=True, stdout=subprocess.PIPE, text=True
        )
        for pid in found.stdout.split():
            subprocess.run(["kill", f"-{signal.SIGKILL}", pid], check=True)
        time.sleep(1)
        assert "offering_unavailable" not in ledger.left()  # but for what it had said in time
        time.sleep(2.5)
        assert ledger.left() == []


def test_events_of_version_2_are_published_only_for_changes(
    broker_with_topology: Any, ollama: Tags, start_worker: Any, ledger: Ledger
) -> None:
    def of_version2() -> dict[str, Any]:
        while True:
            method, properties, body = ledger.next()
            if "lane" not in body:
                assert method.routing_key == f"llm.registry.{body['event_type']}"
                assert (properties.type, properties.content_type) == ("llm.registry.event", "application/json")
                assert UUID.fullmatch(body.pop("event_id")) and MOMENT.fullmatch(body.pop("occurred_at"))
                return body

    metadata = {"extension": "lex_llm_ollama", "provider": "ollama", "model_name": "qwen3.5:27b"}
    expected = {
        "event_type": "offering_available",
        "offering": {
            "provider_family": "ollama",
            "provider_instance": "h200",
            "transport": "http",
            "model": "qwen3.5:27b",
            "usage_type": "inference",
            "capabilities": ["chat", "streaming", "tools", "vision"],
            "limits": {"context_window": 32768},
            "metadata": metadata,
        },
        "runtime": {"node": "gpu-01"},
        "health": {"ready": True, "status": "available", "checked": True},
        "metadata": metadata,
    }
    registry = {"heartbeat_interval": 1, "version2": True}
    with worker(
        start_worker, broker_with_topology, ollama, CHAT, registry=registry, protocol={"instances": ["*", "h200"]}
    ):
        assert of_version2() == expected
        for _beat in range(3):
            ledger.next("offering_heartbeat", CHAT_LANE)
        models, ollama.models = ollama.models, []
        lost = of_version2()
        assert lost["event_type"] == "offering_unavailable"
        assert (lost["health"]["ready"], lost["health"]["error_class"]) == (False, "model_not_loaded")
        for _beat in range(2):
            ledger.next("offering_degraded", CHAT_LANE)
        ollama.models = models
        assert of_version2() == expected
    gone = of_version2()
    assert (gone["event_type"], gone["health"]["status"]) == ("offering_unavailable", "unavailable")
