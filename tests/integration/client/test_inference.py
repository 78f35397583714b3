# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inference with a real model: answers, streams, usage, and calls that end early."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ollama as official
import pytest
import services
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import api_errors as errors
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.calls import Call
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.client import OllamaClient
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.usage import usage_of

CHAT = "smollm2:135m"
EMBED = "all-minilm"
QUESTION: list[dict[str, Any]] = [{"role": "user", "content": "What is the capital of France?"}]
#: Goes on until it is stopped: no end token can be chosen when every token is as likely as another.
ENDLESS: dict[str, Any] = {"num_predict": 100_000, "temperature": 50.0, "top_k": 40000, "repeat_penalty": 2.0}


def test_chat_is_answered_and_counted(client: OllamaClient) -> None:
    answer = client.chat(model=CHAT, messages=QUESTION)
    assert "Paris" in answer["message"]["content"]
    usage = usage_of(answer)
    assert usage["input_tokens"] > 10 and usage["output_tokens"] > 3
    assert usage["total_duration"] >= usage["eval_duration"] > 0


def test_chat_in_a_stream_is_the_same_answer(client: OllamaClient) -> None:
    plain = client.chat(model=CHAT, messages=QUESTION)
    events = list(client.chat_stream(model=CHAT, messages=QUESTION))
    assert len(events) > 3
    assert [event.type for event in events] == ["delta"] * (len(events) - 1) + ["done"]
    assert "".join(event.text for event in events) == plain["message"]["content"]
    assert events[-1].data["message"] == plain["message"]
    assert set(plain) <= set(events[-1].data)
    assert usage_of(events[-1].data)["output_tokens"] == usage_of(plain)["output_tokens"]


def test_generate_stream_is_the_same_text(client: OllamaClient) -> None:
    body: dict[str, Any] = {"model": CHAT, "prompt": "The capital of France is", "raw": True}
    plain = client.generate(**body, options={"num_predict": 8, "temperature": 0})
    events = list(client.generate_stream(**body, options={"num_predict": 8, "temperature": 0}))
    assert plain["done_reason"] == "length"
    assert events[-1].data["response"] == plain["response"] != ""


def test_chat_with_a_schema_follows_it(client: OllamaClient) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = client.chat(model=CHAT, messages=QUESTION, format=schema)
    assert set(json.loads(answer["message"]["content"])) == {"city"}


def test_embed_as_the_official_client_sees_it(client: OllamaClient, ollama: services.OllamaServer) -> None:
    answer = client.embed(model=EMBED, input=["a cat", "a dog", "a theorem"])
    assert [len(vector) for vector in answer["embeddings"]] == [384] * 3
    theirs = official.Client(ollama.url).embed(EMBED, ["a cat"])
    assert answer["embeddings"][0] == pytest.approx(list(theirs.embeddings[0]), abs=1e-4)
    usage = usage_of(answer)
    assert usage["input_tokens"] > 5 and usage["output_tokens"] == 0


def test_generate_without_a_prompt_loads_and_unloads(client: OllamaClient) -> None:
    assert client.generate(model=CHAT, keep_alive="1h")["done_reason"] == "load"
    assert CHAT in {model["name"] for model in client.ps()["models"]}
    assert client.generate(model=CHAT, keep_alive=0)["done_reason"] == "unload"
    deadline = time.monotonic() + 60
    while CHAT in {model["name"] for model in client.ps()["models"]}:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_wrong_request_raises_the_servers_message(client: OllamaClient) -> None:
    with pytest.raises(errors.ApiError) as caught:
        client.generate(model=CHAT, prompt="x", format="xml")
    assert caught.value.server_message
    with pytest.raises(errors.InvalidRequestError, match="does not support chat"):
        client.chat(model=EMBED, messages=QUESTION)


def test_client_used_by_many_threads_answers_each(client: OllamaClient) -> None:
    def ask(number: int) -> int:
        if number % 2:
            return len(client.embed(model=EMBED, input=f"text {number}")["embeddings"][0])
        return len(list(client.chat_stream(model=CHAT, messages=QUESTION, options={"num_predict": 4})))

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(ask, range(40)))
    assert all(result == 384 for result in results[1::2])
    assert all(result >= 4 for result in results[::2])


def busy(server: services.OllamaServer) -> float:
    """CPU seconds that the server and its runners have used."""
    assert server.process is not None
    ticks = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == server.process.pid:  # its process group
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def assert_idle(server: services.OllamaServer) -> None:
    """The inference would take an hour; how soon the server notices the cancellation depends on the machine."""
    deadline = time.monotonic() + 60
    used, before = busy(server), -1.0
    while used - before > 0.2:
        assert time.monotonic() < deadline, "Ollama is still at work"
        before = used
        time.sleep(1)
        used = busy(server)


@pytest.fixture
def idle(client: OllamaClient, ollama: services.OllamaServer) -> services.OllamaServer:
    client.generate(model=CHAT)
    assert_idle(ollama)
    return ollama


def test_cancel_before_the_headers_stops_ollama(client: OllamaClient, idle: services.OllamaServer) -> None:
    call, before = Call(), busy(idle)

    def cancel_at_work() -> None:
        while busy(idle) - before < 0.5:
            time.sleep(0.05)
        call.cancel()

    threading.Thread(target=cancel_at_work, daemon=True).start()
    with pytest.raises(errors.CallCancelledError):
        client.generate(model=CHAT, prompt="Count to a million.", options=ENDLESS, call=call)
    assert_idle(idle)


def test_cancel_in_a_stream_stops_ollama(client: OllamaClient, idle: services.OllamaServer) -> None:
    call = Call()
    stream = iter(client.generate_stream(model=CHAT, prompt="Go on", options=ENDLESS, call=call))
    for _number in range(10):
        next(stream)
    threading.Timer(0.1, call.cancel).start()
    with pytest.raises(errors.CallCancelledError):
        list(stream)
    assert_idle(idle)


def test_leaving_a_stream_stops_ollama(client: OllamaClient, idle: services.OllamaServer) -> None:
    with client.generate_stream(model=CHAT, prompt="Go on", options=ENDLESS) as stream:
        for number, _event in enumerate(stream):
            if number == 10:
                break
    assert_idle(idle)


def test_total_deadline_stops_ollama(client: OllamaClient, idle: services.OllamaServer) -> None:
    with pytest.raises(errors.DeadlineExceededError):
        client.generate(model=CHAT, prompt="Go on", options=ENDLESS, call=Call(total_timeout=1.5))
    assert_idle(idle)


def test_cancelled_call_does_not_disturb_other_calls(client: OllamaClient) -> None:
    def cancelled() -> None:
        call = Call()
        threading.Timer(0.3, call.cancel).start()
        with pytest.raises(errors.CallCancelledError):
            client.generate(model=CHAT, prompt="Go on", options=ENDLESS, call=call)

    def kept() -> None:
        assert "Paris" in client.chat(model=CHAT, messages=QUESTION)["message"]["content"]

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(act) for act in (cancelled, kept, cancelled, kept, cancelled, kept)]:
            done.result()
