# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls whose server fails during the inference."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import services
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import api_errors as errors
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.calls import Call
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.client import OllamaClient
from depth import rounds

ROUNDS = rounds(quick=2, deep=100)
CHAT = "smollm2:135m"
ENDLESS: dict[str, Any] = {"num_predict": 100_000, "temperature": 50.0, "top_k": 40000}


def children(server: services.OllamaServer) -> list[int]:
    """The runner processes of the server."""
    assert server.process is not None
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != server.process.pid:
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == server.process.pid:
                found.append(int(entry.name))
    return found


def test_stream_of_a_killed_server_fails_and_keeps_the_received_text(server: services.OllamaServer) -> None:
    stream = iter(OllamaClient(server.url).generate_stream(model=CHAT, prompt="Go on", options=ENDLESS))
    texts = [next(stream).text for _index in range(10)]
    server.kill()
    with pytest.raises(errors.IncompleteResponseError, match=r"The connection to http://.* broke") as caught:
        texts.extend(event.text for event in stream)  # what was on its way when the server died
    assert caught.value.partial["response"] == "".join(texts)


def test_call_with_a_killed_runner_raises_ollamas_message(server: services.OllamaServer) -> None:
    client = OllamaClient(server.url)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(client.generate, model=CHAT, prompt="Go on", options=ENDLESS)
        deadline = time.monotonic() + 60
        while not client.ps()["models"] and time.monotonic() < deadline:
            time.sleep(0.05)
        while not answer.done():
            if time.monotonic() > deadline:
                client.cancel()
            # All there are, again and again: some look for a GPU at first, and end by themselves.
            for pid in children(server):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
        with pytest.raises(errors.OllamaError) as caught:
            answer.result()
    assert isinstance(caught.value, (errors.ApiError, errors.IncompleteResponseError)), caught.value
    assert client.chat(model=CHAT, messages=[{"role": "user", "content": "Hello"}])["done"], "the next one is answered"


@pytest.mark.parametrize("number", range(ROUNDS))
def test_call_to_a_server_that_restarts_is_answered_at_the_second_try(
    server: services.OllamaServer, number: int
) -> None:
    client = OllamaClient(server.url, retries=20)
    question: list[dict[str, Any]] = [{"role": "user", "content": "What is the capital of France?"}]
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(client.chat, model=CHAT, messages=question)
        time.sleep(0.1 * (number + 1))
        server.kill()
        server.start()
        assert "Paris" in answer.result(60)["message"]["content"]


def test_call_to_a_server_that_hangs_ends_by_each_limit(server: services.OllamaServer) -> None:
    """A stopped process does not even close a connection; every way to end the call still works."""
    OllamaClient(server.url).generate(model=CHAT)  # loads it, for however long that takes here
    client = OllamaClient(server.url, read_timeout=60.0, retries=0)
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(errors.ReadTimeoutError):
            client.chat(model=CHAT, messages=[], call=Call(read_timeout=1.0))
        with pytest.raises(errors.DeadlineExceededError):
            client.chat(model=CHAT, messages=[], call=Call(total_timeout=0.5))
        call = Call()
        threading.Timer(0.3, call.cancel).start()
        with pytest.raises(errors.CallCancelledError):
            client.chat(model=CHAT, messages=[], call=call)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert OllamaClient(server.url).version()
