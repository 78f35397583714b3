# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics that a real worker gives Prometheus, request by request."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pika
import pytest
from fleet_parts import (
    CHAT_MODEL,
    EMBED_MODEL,
    ScriptedOllama,
    Slow,
    WorkerProcess,
    answer,
    channel_to,
    eventually,
    hangable,
)
from prometheus_client.parser import text_string_to_metric_families
from services import free_port

Start = Callable[..., WorkerProcess]
CHAT = "llm.request.ollama.chat.smollm2.135m"
EMBED = "llm.request.ollama.embed.all-minilm.latest"


class Scraped:
    """One answer to Prometheus."""

    def __init__(self, listen: str) -> None:
        with urllib.request.urlopen(f"http://{listen}/metrics", timeout=20) as got:
            text = got.read().decode()
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the samples that have the labels; 0 without samples."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == "fleet_worker_" + name and labels.items() <= sample.labels.items()
        )


@pytest.fixture
def listen() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def raw(clean_broker: Any) -> Iterator[Any]:
    with channel_to(clean_broker) as channel:
        yield channel


def send(channel: Any, body: Any, queue: str = CHAT, **properties: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    properties = {"type": "llm.fleet.request", "correlation_id": str(uuid.uuid4()), **properties}
    channel.basic_publish("llm.request", queue, content, pika.BasicProperties(**properties), mandatory=True)


def test_requests_of_each_outcome_have_a_counter(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Any, listen: str
) -> None:
    """One request of each outcome, and a counter for each."""

    def behave(path: str, body: dict[str, Any]) -> Any:
        return (500, {"error": "fell over"}) if "fail" in json.dumps(body) else answer(path, body)

    scripted.behave = behave
    worker = start(
        clean_broker, scripted.url, metrics={"listen": listen}, max_reply_bytes=4096, max_request_bytes=65536
    ).wait_ready()
    reply_to = "llm.fleet.reply.0123456789abcdef"
    raw.queue_declare(reply_to, auto_delete=True)
    hello = {"messages": [{"role": "user", "content": "Hello"}]}

    def ask(body: Any, *lane: str, **properties: Any) -> Scraped:
        """Send one request, and wait for its end, so that no delivery meets a cancelled consumer."""
        nonlocal asked
        asked += 1
        send(raw, body, *lane, **properties)
        return eventually(
            lambda: found if (found := Scraped(listen))("requests_total") == asked else None, "its end", worker=worker
        )

    asked = 0
    ask(hello, reply_to=reply_to, timestamp=int(time.time()) - 2)
    ask({"input": ["x"] * 2}, EMBED, reply_to=reply_to)
    ask({"messages": [{"role": "user", "content": "fail"}]}, reply_to=reply_to)
    ask(hello, reply_to="llm.fleet.reply.nobody")
    ask(hello, reply_to="somebody.elses")
    ask({"input": ["x"] * 1000}, EMBED, reply_to=reply_to)
    ask(b"x" * 70000, reply_to=reply_to)
    ask(b"{", reply_to=reply_to)
    ask({**hello, "stream": True}, reply_to=reply_to)
    ask(hello, type="llm.fleet.response", reply_to=reply_to)
    got = ask(hello, reply_to=reply_to, headers={"x-legion-fleet-deadline": 1000})
    outcomes = {
        (sample.labels["lane"], sample.labels["outcome"]): sample.value
        for sample in got.samples
        if sample.name == "fleet_worker_requests_total"
    }
    assert outcomes == {
        (CHAT, "answered"): 2,
        (EMBED, "answered"): 1,
        (CHAT, "inference_failed"): 1,
        (CHAT, "unsupported_type"): 1,  # a body that is not JSON
        (CHAT, "reply_to_refused"): 1,
        (EMBED, "payload_too_large"): 1,
        (CHAT, "payload_too_large"): 1,
        (CHAT, "unsupported_streaming"): 1,
        (CHAT, "is_an_answer"): 1,
        (CHAT, "expired"): 1,
    }
    assert got("replies_total", result="returned") == 1
    assert got("replies_total", result="confirmed") == 8
    assert got("deliveries_total") == 11
    assert got("redeliveries_total") == 0
    assert got("tokens_total", lane=CHAT, direction="input") == 6
    assert got("tokens_total", lane=CHAT, direction="output") == 4
    assert got("inference_seconds_count", lane=CHAT) == 3
    assert got("request_seconds_count") == 11
    assert (got("queue_wait_seconds_count"), 1 <= got("queue_wait_seconds_sum") < 60) == (1, True)
    assert got("model_switches_total") >= 1
    assert got("connections_total") == 1
    assert got("lane_info", lane=CHAT, model=CHAT_MODEL, type="chat", style="model") == 1
    assert got("lane_info", model=EMBED_MODEL) == 1
    names = {sample.name for sample in got.samples}
    assert {"fleet_worker_info", "process_cpu_seconds_total", "process_resident_memory_bytes"} <= names
    assert got("registry_events_total", event="offering_available") == 2
    assert worker.status()["rates"]["1m"]["requests_per_second"] > 0


def test_gauges_follow_the_worker_from_idle_to_busy(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Any, listen: str
) -> None:
    slow = scripted.behave = Slow(60)
    worker = start(
        clean_broker, scripted.url, metrics={"listen": listen}, concurrency=1, ollama={"interval": 0.5}
    ).wait_ready()
    idle = Scraped(listen)
    names = (
        "ready",
        "connected",
        "ollama_up",
        "slots",
        "io_thread_responding",
        "in_flight",
        "held",
        "draining",
        "blocked",
    )
    assert [idle(name) for name in names] == [1, 1, 1, 1, 1, 0, 0, 0, 0]
    assert abs(idle("start_time_seconds") - time.time()) < 300
    send(raw, {"messages": []})
    slow.wait_for()
    assert Scraped(listen)("in_flight", lane=CHAT) == 1
    scripted.models = [CHAT_MODEL]
    eventually(lambda: Scraped(listen)("lane_served", lane=EMBED) == 0, "the paused lane", within=60)
    paused = Scraped(listen)
    assert (paused("lane_served", lane=CHAT), paused("lanes", state="paused")) == (1, 1)
    worker.terminate()
    eventually(lambda: Scraped(listen)("draining") == 1, "the drain", worker=worker)
    slow.go_on.set()
    assert worker.wait_end() == 0


def test_main_loop_that_hangs_is_a_metric(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, listen: str, tmp_path: Path
) -> None:
    worker = start(clean_broker, scripted.url, metrics={"listen": listen}, environment=hangable(tmp_path)).wait_ready()
    assert Scraped(listen)("io_thread_responding") == 1

    def hung() -> Optional[Scraped]:
        # More than once: a single signal was once seen to hang nothing.
        worker.process.send_signal(signal.SIGUSR2)
        found = Scraped(listen)
        return None if found("io_thread_responding") else found

    got = eventually(hung, "the metric", within=60)
    assert got("slots") == 0  # no metrics of a worker that does not report
    worker.kill()


def test_metrics_address_in_use_disables_only_the_metrics(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, listen: str
) -> None:
    start(clean_broker, scripted.url, metrics={"listen": listen}).wait_ready()
    second = start(clean_broker, scripted.url, metrics={"listen": listen}, node="gpu-02").wait_ready()
    line = second.wait_log("no_metrics")
    assert listen in line and "in use" in line


def test_worker_without_metrics_does_not_listen(clean_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    worker = start(clean_broker, scripted.url, metrics={"listen": None}).wait_ready()
    listening = os.popen(f"ss -Hltnp 2>/dev/null | grep pid={worker.process.pid},").read()
    assert listening == ""
