# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module fleet_request as a task runs it: bundled by Ansible, against a real broker, worker and Ollama."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from fleet_parts import CHAT_MODEL, EMBED_MODEL, ScriptedOllama, WorkerProcess, channel_to
from fleet_worker._fleet.lanes import lane

CHAT = {
    "type": "chat",
    "model": CHAT_MODEL,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "options": {"seed": 1, "temperature": 0},
}
LANES = [
    {"type": "chat", "model": CHAT_MODEL},
    {"type": "generate", "model": CHAT_MODEL},
    {"type": "embed", "model": EMBED_MODEL},
    {"type": "chat", "model": CHAT_MODEL, "style": "offering"},
]
Start = Callable[..., WorkerProcess]


def task(broker: Any, check: bool = False, **options: Any) -> dict[str, Any]:
    """Run the module on this machine; return its result."""
    login = {
        "broker_host": broker.host,
        "broker_port": broker.port,
        "broker_username": broker.username,
        "broker_password": broker.password,
    }
    arguments = {name: value for name, value in {**login, "timeout": 60, **options}.items() if value is not None}
    command = ["ansible", "localhost", "-m", "legionio.ollama.fleet_request", "-a", json.dumps(arguments)]
    command += ["-e", f"ansible_python_interpreter={sys.executable}", *(["--check"] if check else [])]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert "=> {" in done.stdout, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout[done.stdout.index("=> {") + 3 :])
    assert result["changed"] is False
    assert broker.password not in done.stdout + done.stderr
    return result


def test_request_to_a_real_model_is_answered_in_both_dialects(clean_broker: Any, ollama: Any, start: Start) -> None:
    start(clean_broker, ollama.url, lanes=LANES).wait_ready()
    for dialect in ("typed", "0.3.1"):
        result = task(clean_broker, **CHAT, dialect=dialect)
        assert "Paris" in result["content"], result
        assert (result["node"], result["model"]) == ("gpu-01", CHAT_MODEL)
        assert result["usage"]["input_tokens"] > 0 < result["usage"]["output_tokens"]
        assert 0 < result["seconds"] < 60
        result = task(clean_broker, type="embed", model=EMBED_MODEL, input=["a", "b"], dialect=dialect)
        assert [len(vector) for vector in result["embeddings"]] == [384, 384]
    prompt = {
        "type": "generate",
        "model": CHAT_MODEL,
        "prompt": "The capital of France is",
        "options": {"num_predict": 4},
    }
    assert task(clean_broker, **prompt)["usage"]["output_tokens"] == 4
    offering = task(clean_broker, **CHAT, style="offering", node="gpu-01", reply_queue="direct")
    assert offering["lane"] == "llm.fleet.offering.gpu-01.smollm2-135m.inference"
    assert "Paris" in offering["content"]


SECRET = "ab" * 32
PROTOCOL = {"secret_credential": "cluster-secret", "versions": [2, 3], "decrypt": True}


def test_request_to_a_real_model_is_answered_in_both_versions(clean_broker: Any, ollama: Any, start: Start) -> None:
    start(clean_broker, ollama.url, lanes=LANES, protocol=PROTOCOL, secrets={"cluster-secret": SECRET}).wait_ready()
    for version in (2, 3):
        signed = {"protocol": version, "cluster_secret": SECRET}
        result = task(clean_broker, **CHAT, **signed)
        assert "Paris" in result["content"], result
        assert (result["node"], result["body"]["protocol_version"]) == ("gpu-01", version)
        assert result["usage"]["input_tokens"] > 0 < result["usage"]["output_tokens"]
        assert task(clean_broker, **CHAT, **signed, encrypt=True, reply_queue="direct")["content"] == result["content"]
        result = task(clean_broker, type="embed", model=EMBED_MODEL, input=["a", "b"], **signed)
        assert [len(vector) for vector in result["embeddings"]] == [384, 384]
    refused = task(clean_broker, **CHAT, protocol=2)
    assert (refused["error_code"], refused["fleet_code"], refused["retriable"]) == (
        "fleet_answer",
        "policy_error",
        False,
    )
    assert "not signed" in refused["msg"]
    refused = task(clean_broker, **CHAT, protocol=2, cluster_secret=SECRET, provider_instance="elsewhere")
    assert (refused["fleet_code"], "elsewhere" in refused["msg"]) == ("configuration_error", True)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"encrypt": True}, "encrypt is set without protocol or cluster_secret"),
        ({"encrypt": True, "protocol": 2}, "encrypt is set without protocol or cluster_secret"),
        ({"protocol": 2, "stream": True}, "has no streams"),
    ],
)
def test_request_that_the_protocol_lacks_fails_with_one_message(
    options: dict[str, Any], text: str, clean_broker: Any
) -> None:
    result = task(clean_broker, **CHAT, **options)
    assert (result["error_code"], text in result["msg"]) == ("invalid_request", True), result


def test_stream_returns_the_time_of_its_first_piece(clean_broker: Any, ollama: Any, start: Start) -> None:
    start(clean_broker, ollama.url, lanes=LANES).wait_ready()
    options = {"seed": 1, "temperature": 0, "num_predict": 60}
    asked = {
        "type": "generate",
        "model": CHAT_MODEL,
        "prompt": "Tell me a story about a lighthouse.",
        "options": options,
    }
    whole = task(clean_broker, **asked)
    result = task(clean_broker, **asked, stream=True)
    assert "stream" not in whole
    assert (result["content"], result["message"], result["usage"]) == (
        whole["content"],
        whole["message"],
        whole["usage"],
    )
    stream = result["stream"]
    assert (stream["missing"], stream["attempts"]) == (0, 1)
    assert 1 < stream["deltas"] <= 60
    assert 0 < stream["first_seconds"] < result["seconds"]


def test_stream_in_the_dialect_0_3_1_fails(clean_broker: Any) -> None:
    result = task(clean_broker, **CHAT, dialect="0.3.1", stream=True)
    assert (result["error_code"], "Use the dialect typed" in result["msg"]) == ("invalid_request", True)


def test_request_with_a_schema_follows_it(clean_broker: Any, ollama: Any, start: Start) -> None:
    start(clean_broker, ollama.url, lanes=LANES).wait_ready()
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    result = task(clean_broker, **CHAT, format=schema)
    assert set(json.loads(result["content"])) == {"city"}


def test_check_mode_checks_the_queue_and_sends_nothing(
    clean_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    start(clean_broker, scripted.url, lanes=LANES).wait_ready()
    result = task(clean_broker, check=True, **CHAT)
    assert result["queue"] == {"messages": 0, "consumers": 1}
    assert "content" not in result
    assert scripted.calls == []


@pytest.mark.parametrize(
    "check, options, code, text",
    [
        (False, {}, "no_fleet_queue", "smollm2.135m"),
        (True, {}, "no_fleet_queue", "There is no queue llm.request.ollama.chat.smollm2.135m"),
        (False, {"broker_password": "wrong"}, "broker_login_refused", "refuses the login of the user 'lab'"),
        (True, {"broker_password": "wrong"}, "broker_login_refused", "refuses the login of the user 'lab'"),
        (False, {"broker_vhost": "nowhere"}, "broker_vhost", "has no virtual host 'nowhere'"),
        (False, {"broker_port": 1}, "broker_unreachable", "Connection refused"),
        (False, {"broker_ca_path": "/no/such.pem"}, "invalid_broker", "The TLS files for the broker cannot be used"),
        (False, {"model": "a/b/c/d"}, "invalid_name", "'a/b/c/d' is not a model name"),
        (False, {"style": "offering", "node": "---"}, "invalid_lane", "cannot be part of a lane"),
    ],
)
def test_request_that_fails_has_one_message(
    check: bool, options: dict[str, Any], code: str, text: str, clean_broker: Any
) -> None:
    result = task(clean_broker, check=check, **{**CHAT, **options})
    assert result["error_code"] == code, result
    assert text in result["msg"]
    assert "Traceback" not in result["msg"]


def test_request_that_the_worker_refuses_returns_the_error_code(
    clean_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    scripted.behave = lambda _path, _body: (500, {"error": "the runner fell over"})
    start(clean_broker, scripted.url, lanes=LANES).wait_ready()
    result = task(clean_broker, **CHAT)
    assert (result["error_code"], result["fleet_code"], result["retriable"]) == (
        "fleet_answer",
        "inference_failed",
        True,
    )
    assert "gpu-01" in result["msg"] and "the runner fell over" in result["msg"]


def test_request_that_nobody_answers_fails_in_time(clean_broker: Any) -> None:
    made = lane("chat", CHAT_MODEL)
    with channel_to(clean_broker) as channel:
        channel.queue_declare(made.queue, durable=True, arguments=made.arguments)
        channel.queue_bind(made.queue, "llm.request", made.queue)
    result = task(clean_broker, **CHAT, timeout=1)
    assert result["error_code"] == "fleet_timeout"
    # The request may have expired in the queue by then.
    assert "its queue has 0 consumers" in result["msg"]


def test_module_without_pika_names_the_package(clean_broker: Any, tmp_path: Path) -> None:
    python = tmp_path / "bare" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    command = [
        "ansible",
        "localhost",
        "-m",
        "legionio.ollama.fleet_request",
        "-e",
        f"ansible_python_interpreter={python}",
    ]
    arguments = {**CHAT, "broker_host": clean_broker.host}
    done = subprocess.run(
        [*command, "-a", json.dumps(arguments)], check=False, capture_output=True, text=True, timeout=120
    )
    result = json.loads(done.stdout[done.stdout.index("=> {") + 3 :])
    assert result["error_code"] == "missing_dependency"
    assert "pika" in result["msg"] and "python3-pika" in result["msg"]
