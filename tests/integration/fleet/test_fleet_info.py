# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module fleet_info as a play runs it, against a real broker and real workers."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
import yaml
from fleet_parts import CHAT_MODEL, ScriptedOllama, WorkerProcess, channel_to
from fleet_worker._fleet.lanes import lane

Start = Callable[..., WorkerProcess]
CHAT = lane("chat", CHAT_MODEL).queue
EMBED = "llm.request.ollama.embed.all-minilm.latest"
LOGIN = ("broker_host", "broker_port", "broker_username", "broker_password")


def login(broker: Any, **others: Any) -> dict[str, Any]:
    return {name: getattr(broker, name[len("broker_") :]) for name in LOGIN} | others


def task(broker: Any, check: bool = False, **options: Any) -> dict[str, Any]:
    """Run the module on this machine; return its result."""
    command = ["ansible", "localhost", "-m", "legionio.ollama.fleet_info", "-a", json.dumps(login(broker, **options))]
    command += ["-e", f"ansible_python_interpreter={sys.executable}", *(["--check"] if check else [])]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert "=> {" in done.stdout, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout[done.stdout.index("=> {") + 3 :])
    assert result["changed"] is False
    assert "Traceback" not in result.get("msg", "")
    return result


def put(broker: Any, queue: str, number: int) -> None:
    with channel_to(broker) as channel:
        for _one in range(number):
            channel.basic_publish("", queue, b"{}", mandatory=True)


@pytest.mark.every_version
def test_info_of_lanes_equals_the_brokers_numbers(clean_broker: Any) -> None:
    made = lane("chat", CHAT_MODEL)
    with channel_to(clean_broker) as channel:
        channel.queue_declare(made.queue, durable=True, arguments=made.arguments)
    put(clean_broker, made.queue, 2)
    lanes = [{"type": "chat", "model": CHAT_MODEL}, {"type": "chat", "model": CHAT_MODEL, "style": "shared"}]
    for check in (False, True):
        result = task(clean_broker, check, lanes=lanes)
        assert result["lanes"] == [
            {
                "queue": CHAT,
                "type": "chat",
                "model": CHAT_MODEL,
                "style": "model",
                "exists": True,
                "messages": 2,
                "consumers": 0,
                "nodes": [],
            },
            {
                "queue": "llm.fleet.inference.smollm2-135m",
                "type": "chat",
                "model": CHAT_MODEL,
                "style": "shared",
                "exists": False,
                "messages": 0,
                "consumers": 0,
                "nodes": [],
            },
        ]
        assert result["nodes"] == []
    assert result["broker"]["product"] == "RabbitMQ"
    assert result["broker"]["version"].split(".")[0] in ("3", "4")
    assert result["broker"]["cluster_name"]


def test_info_with_listen_has_the_announcements_of_the_nodes(
    clean_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    scripted.models = [CHAT_MODEL]
    fast = {"registry": {"heartbeat_interval": 1}}
    for node in ("gpu-01", "gpu-02"):
        start(clean_broker, scripted.url, node=node, concurrency=3, **fast).wait_told("STATUS=1 of 2 lanes served")
    result = task(clean_broker, listen=4)
    assert [node["name"] for node in result["nodes"]] == ["gpu-01", "gpu-02"]
    first = result["nodes"][0]
    assert first["concurrency"] == 3
    chat, embed = first["lanes"]
    assert chat.pop("at").endswith("Z") and embed.pop("at").endswith("Z")
    assert chat == {
        "queue": CHAT,
        "type": "chat",
        "model": CHAT_MODEL,
        "style": "model",
        "context_window": None,
        "status": "available",
        "error_class": None,
        "error": None,
    }
    assert (embed["queue"], embed["status"], embed["error_class"]) == (EMBED, "degraded", "model_not_loaded")
    assert "all-minilm" in embed["error"]
    by_queue = {entry["queue"]: entry for entry in result["lanes"]}
    assert by_queue[CHAT]["nodes"] == ["gpu-01", "gpu-02"]
    assert by_queue[CHAT]["consumers"] == 2
    assert (by_queue[EMBED]["nodes"], by_queue[EMBED]["consumers"], by_queue[EMBED]["exists"]) == ([], 0, True)


def test_info_with_listen_ignores_malformed_events(clean_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    """Malformed messages on the exchange are harmless."""
    worker = start(clean_broker, scripted.url, registry={"heartbeat_interval": 1}).wait_ready()
    with subprocess.Popen([sys.executable, "-c", STRAY, clean_broker.amqp_url], stdout=subprocess.PIPE) as publishing:
        try:
            assert publishing.stdout is not None and publishing.stdout.readline() == b"published\n"
            result = task(clean_broker, listen=3)
            assert publishing.poll() is None
        finally:
            publishing.kill()
    assert [node["name"] for node in result["nodes"]] == ["gpu-01"]
    assert worker.process.poll() is None


STRAY = """
import itertools, sys, time, pika
channel = pika.BlockingConnection(pika.URLParameters(sys.argv[1])).channel()
for body in itertools.cycle([b"", b"[]", b'{"lane": 1}', b'{"lane": "x", "runtime": {"node": []}}', b"\\xff"]):
    channel.basic_publish("llm.registry", "llm.registry.x", body, pika.BasicProperties(type="llm.registry.event"))
    if body == b"\\xff":
        print("published", flush=True)
    time.sleep(0.05)
"""


@pytest.mark.every_version
def test_info_needs_permissions_only_with_listen(clean_broker: Any) -> None:
    made = lane("chat", CHAT_MODEL)
    with channel_to(clean_broker) as channel:
        channel.queue_declare(made.queue, durable=True, arguments=made.arguments)
    clean_broker.ctl("add_user", "watcher", "look-only")
    try:
        watcher = {"broker_username": "watcher", "broker_password": "look-only"}
        clean_broker.ctl("set_permissions", "watcher", "^$", "^$", "^$")
        asked = [{"type": "chat", "model": CHAT_MODEL}]
        assert task(clean_broker, **watcher, lanes=asked)["lanes"][0]["exists"] is True
        result = task(clean_broker, **watcher, listen=1)
        assert result["error_code"] == "broker_forbidden"
        assert "'watcher'" in result["msg"]
        reply = r"^llm\.fleet\.reply\."
        clean_broker.ctl("set_permissions", "watcher", reply, reply, reply + r"|^llm\.registry$")
        assert task(clean_broker, **watcher, listen=0.5)["nodes"] == []
    finally:
        clean_broker.ctl("delete_user", "watcher")


@pytest.mark.parametrize(
    "options, code, text",
    [
        ({"broker_password": "wrong"}, "broker_login_refused", "refuses the login"),
        ({"broker_port": 1}, "broker_unreachable", "Connection refused"),
        ({"listen": -1}, "invalid_request", "listen is -1"),
        ({"lanes": [{"type": "chat", "model": "a/b/c/d"}]}, "invalid_name", "is not a model name"),
        ({"lanes": [{"type": "chat", "model": "m", "style": "offering"}]}, None, "node"),
    ],
)
def test_info_that_fails_has_one_message(
    options: dict[str, Any], code: Optional[str], text: str, clean_broker: Any
) -> None:
    result = task(clean_broker, **options)
    assert result.get("error_code") == code, result
    assert text in result["msg"]


def test_info_with_listen_but_without_the_exchange_fails(broker: Any, clean_broker: Any) -> None:
    with channel_to(clean_broker) as channel:
        channel.exchange_delete("llm.registry")
        try:
            result = task(clean_broker, listen=1)
        finally:
            channel.exchange_declare("llm.registry", "topic", durable=True)
    assert result["error_code"] == "exchange_missing"
    assert "'llm.registry'" in result["msg"]


def test_every_example_runs(clean_broker: Any, scripted: ScriptedOllama, start: Start, tmp_path: Path) -> None:
    scripted.models = ["llama3:latest"]
    lanes = [{"type": "chat", "model": "llama3"}]
    start(clean_broker, scripted.url, lanes=lanes, registry={"heartbeat_interval": 1}).wait_ready()
    text = importlib.import_module("ansible_collections.legionio.ollama.plugins.modules.fleet_info").EXAMPLES
    # What is the user's own: address and login, and here the patience and the interpreter.
    for theirs, ours in {
        "broker_host: hub.example.com": f"broker_host: {clean_broker.host}\n    broker_port: {clean_broker.port}",
        "broker_username: requester": f"broker_username: {clean_broker.username}",
        "{{ requester_password }}": clean_broker.password,
        "broker_username: observer": f"broker_username: {clean_broker.username}",
        "{{ observer_password }}": clean_broker.password,
        "listen: 35": "listen: 3",
        "/opt/legionio/fleet-worker/current/venv/bin/python": sys.executable,
    }.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    variables = {"ansible_python_interpreter": sys.executable}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": yaml.safe_load(text)}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"llm.request.ollama.chat.llama3": 0' in done.stdout
    assert "ok=4 " in done.stdout and "changed=0" in done.stdout
