# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Malformed input beside requests: the configuration at SIGHUP, Ollama's list of models, and clients
of status and metrics. None of it ends a thread of the worker.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Callable

import pika
import pytest
from fleet_parts import SOURCES, ScriptedOllama, Slow, WorkerProcess, channel_to, eventually
from services import free_port

Start = Callable[..., WorkerProcess]
CHAT = "llm.request.ollama.chat.smollm2.135m"


def test_reload_of_malformed_files_leaves_the_worker_unchanged(
    clean_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    worker = start(clean_broker, scripted.url).wait_ready()
    good = worker.config_path.read_text()
    odd = ["node: 2026-02-30", "[" * 100_000, "node: &a [*a]", "lanes: 5", "\udcff"]
    for count, text in enumerate(odd, 1):
        worker.config_path.write_bytes(text.encode("utf-8", "surrogateescape"))
        worker.process.send_signal(signal.SIGHUP)
        eventually(lambda count=count: worker.log.count("reload_refused") == count, f"refusal {count}", worker=worker)
    worker.config_path.unlink()
    os.mkfifo(worker.config_path)
    worker.process.send_signal(signal.SIGHUP)
    eventually(lambda: worker.log.count("reload_refused") == len(odd) + 1, "refusal of a pipe", worker=worker)
    worker.config_path.unlink()
    worker.config_path.write_text(good)
    worker.process.send_signal(signal.SIGHUP)
    worker.wait_log("event=reloaded")
    worker.terminate()
    assert worker.wait_end() == 0


@pytest.mark.parametrize("tags", [{"models": 5}])
def test_malformed_list_of_models_pauses_the_lanes_until_a_valid_one(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, tags: dict[str, Any]
) -> None:
    worker = start(clean_broker, scripted.url, ollama={"interval": 0.1}).wait_ready()
    scripted.tags = tags
    worker.wait_log("event=ollama_down")
    assert "its list of models is not a list" in worker.status()["lanes"][0]["reason"]
    scripted.tags = None
    eventually(lambda: worker.status()["lanes"][0]["reason"] == "", "a served lane", worker=worker)


def test_many_silent_clients_of_the_metrics_take_no_threads_and_delay_no_answer(
    clean_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    listen = f"127.0.0.1:{free_port()}"
    worker = start(clean_broker, scripted.url, metrics={"listen": listen}).wait_ready()
    threads = Path(f"/proc/{worker.process.pid}/task")
    before = len(list(threads.iterdir()))
    host, port = listen.split(":")
    silent = [socket.create_connection((host, int(port)), 30) for _number in range(150)]
    for client in silent:
        client.sendall(b"GET /metrics HTTP/1.1\r\n")
    with urllib.request.urlopen(f"http://{listen}/metrics", timeout=30) as got:
        assert b"fleet_worker_ready 1.0" in got.read()
    assert len(list(threads.iterdir())) == before
    for client in silent:
        client.close()


def test_status_escapes_the_text_of_a_requester(clean_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    slow = scripted.behave = Slow(60)
    worker = start(clean_broker, scripted.url).wait_ready()
    hostile = "x\n\x1b[2J\x1b]0;owned\x07FORGED  push  0\u202e"
    with channel_to(clean_broker) as channel:
        body = json.dumps({"messages": [{"role": "user", "content": "x"}]}).encode()
        properties = pika.BasicProperties(correlation_id=hostile, reply_to="llm.fleet.reply.x")
        channel.basic_publish("llm.request", CHAT, body, properties, mandatory=True)
    slow.wait_for(1)
    command = [sys.executable, "-m", "fleet_worker", "status", "--config", str(worker.config_path)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    shown = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
    assert "x\\n\\x1b[2J" in shown
    assert all(line.isprintable() and not line.startswith("FORGED") for line in shown.splitlines())
    slow.go_on.set()
