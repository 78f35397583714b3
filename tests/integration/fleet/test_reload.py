# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reload by SIGHUP: new lanes, without an effect on running requests."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from typing import Any, Callable

import pika
import pytest
import yaml
from fleet_parts import CHAT_MODEL, EMBED_MODEL, ScriptedOllama, Slow, WorkerProcess, channel_to, eventually

Start = Callable[..., WorkerProcess]
CHAT = "llm.request.ollama.chat.smollm2.135m"
GENERATE = "llm.request.ollama.generate.smollm2.135m"
EMBED = "llm.request.ollama.embed.all-minilm.latest"


@pytest.fixture
def raw(clean_broker: Any) -> Iterator[Any]:
    with channel_to(clean_broker) as channel:
        yield channel


def send(channel: Any, queue: str, **body: Any) -> str:
    """Ask; return the queue for the answer."""
    reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
    channel.queue_declare(reply_to, auto_delete=True)
    properties = pika.BasicProperties(type="llm.fleet.request", reply_to=reply_to, correlation_id=reply_to)
    channel.basic_publish("llm.request", queue, json.dumps(body).encode(), properties, mandatory=True)
    return reply_to


def answer(channel: Any, reply_to: str) -> dict[str, Any]:
    got = eventually(lambda: channel.basic_get(reply_to, auto_ack=True)[2], "an answer")
    found: dict[str, Any] = json.loads(got)
    return found


def reload(worker: WorkerProcess, **changes: Any) -> None:
    content = yaml.safe_load(worker.config_path.read_text())
    worker.config_path.write_text(yaml.safe_dump({**content, **changes}))
    worker.process.send_signal(signal.SIGHUP)


def lanes(worker: WorkerProcess) -> dict[str, str]:
    return {lane["queue"]: lane["state"] for lane in worker.status()["lanes"]}


def test_reload_changes_the_lanes_and_keeps_running_requests(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Any
) -> None:
    slow = scripted.behave = Slow(120)
    worker = start(clean_broker, scripted.url, concurrency=2).wait_ready()
    under_way = send(raw, CHAT, messages=[{"role": "user", "content": "Hello"}])
    slow.wait_for()
    reload(worker, lanes=[{"type": "generate", "model": CHAT_MODEL}, {"type": "embed", "model": EMBED_MODEL}])
    worker.wait_log("event=lanes_changed")
    eventually(lambda: set(lanes(worker)) == {GENERATE, EMBED}, "the new lanes", worker=worker)
    eventually(lambda: lanes(worker)[GENERATE] in ("push", "pull"), "the new lane is served", worker=worker)
    assert worker.process.poll() is None
    late = send(raw, CHAT, messages=[])
    new = send(raw, GENERATE, prompt="Tell")
    slow.wait_for()
    slow.go_on.set()
    assert answer(raw, under_way)["message"]["content"] == "Good morning."
    assert answer(raw, new)["message"]["content"] == "Once there was"
    assert raw.queue_declare(CHAT, passive=True).method.message_count == 1, "nobody takes it"
    reload(worker, lanes=[{"type": "chat", "model": CHAT_MODEL}])
    assert answer(raw, late)["message"]["content"] == "Good morning."
    assert len(scripted.calls) == 3
    assert "READY=1" in worker.told and worker.status()["counters"]["connections"] == 1


def test_reload_of_a_wrong_file_changes_nothing(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Any
) -> None:
    worker = start(clean_broker, scripted.url).wait_ready()
    reload(worker, lanes=[{"type": "chatter", "model": CHAT_MODEL}])
    line = worker.wait_log("event=reload_refused")
    assert "lanes.0.type: input should be 'chat'" in line
    worker.config_path.write_text("lanes: [")
    worker.process.send_signal(signal.SIGHUP)
    eventually(lambda: "is not YAML" in worker.log, "the second complaint", worker=worker)
    assert set(lanes(worker)) == {CHAT, EMBED}
    assert answer(raw, send(raw, CHAT, messages=[]))["message"]["content"] == "Good morning."


def test_reload_names_the_keys_that_need_a_restart(clean_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    worker = start(clean_broker, scripted.url).wait_ready()
    reload(worker, concurrency=7, drain_timeout=9, lanes=[{"type": "embed", "model": EMBED_MODEL}])
    line = worker.wait_log("event=reload_incomplete")
    assert "keys=concurrency,drain_timeout" in line
    eventually(lambda: set(lanes(worker)) == {EMBED}, "the lanes anyway", worker=worker)
    assert worker.status()["slots"] != 7


def test_reload_of_an_unchanged_file_changes_nothing(clean_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    worker = start(clean_broker, scripted.url).wait_ready()
    reload(worker)
    worker.wait_log("event=reloaded")
    assert "lanes_changed" not in worker.log
    assert "reload_incomplete" not in worker.log
    assert set(lanes(worker)) == {CHAT, EMBED}


def test_reload_by_a_burst_of_signals_does_not_hang(clean_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    """A handler that is interrupted by the next signal must not wait for a lock that it holds itself."""
    worker = start(clean_broker, scripted.url).wait_ready()
    for _signal in range(2000):
        worker.process.send_signal(signal.SIGHUP)
    eventually(lambda: "event=reloaded" in worker.log, "a reload", worker=worker)
    assert set(lanes(worker)) == {CHAT, EMBED}
    worker.terminate()
    assert worker.wait_end() == 0
