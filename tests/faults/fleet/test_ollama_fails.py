# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama stops, comes back, breaks connections, or stays away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from fleet_parts import CHAT_MODEL, ScriptedOllama, Slow, WorkerProcess, answer, eventually
from fleet_worker._fleet.lanes import lane

from .asking import Asker

CHAT = lane("chat", CHAT_MODEL).queue
Start = Callable[..., WorkerProcess]


@pytest.fixture
def second() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as ollama:
        yield ollama


def test_a_request_waits_for_an_ollama_that_restarts(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    worker = start(shared_broker, scripted.url).wait_ready()
    asker = Asker(shared_broker, CHAT)
    scripted.stop()
    asker.ask()
    worker.wait_log("event=ollama_down")
    eventually(lambda: all(one["state"] == "paused" for one in worker.status()["lanes"]), "lanes are paused")
    scripted.start()
    asker.wait(within=30)
    properties, body = asker.only()
    assert body["message"]["content"] == "Good morning."
    assert "x-legion-fleet-redelivered" not in properties.headers, "it was held, not given back"
    eventually(lambda: all(one["state"] != "paused" for one in worker.status()["lanes"]), "lanes are consumed again")


def test_a_request_moves_to_another_node_when_ollama_stays_away(
    shared_broker: Any, scripted: ScriptedOllama, second: ScriptedOllama, start: Start
) -> None:
    slow = scripted.behave = Slow(60)
    start(shared_broker, scripted.url, ollama={"patience": 2}).wait_ready()
    asker = Asker(shared_broker, CHAT)
    asker.ask()
    slow.wait_for()
    start(shared_broker, second.url).wait_ready()
    scripted.behave = lambda _path, _body: None
    scripted.stop()
    slow.go_on.set()
    scripted.stop()
    asker.wait(within=30)
    assert asker.only()[1]["message"]["content"] == "Good morning."


def test_a_request_that_was_given_back_already_is_answered_with_the_reason(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    """The only node: it gives the request back once, gets it again when Ollama seems up, and then says so."""
    scripted.behave = lambda _path, _body: None  # up for those who look, and breaks every inference
    start(shared_broker, scripted.url, ollama={"patience": 1}).wait_ready()
    asker = Asker(shared_broker, CHAT)
    asker.ask()
    asker.wait(within=60)
    properties, body = asker.only()
    assert (body["error"]["code"], body["error"]["retriable"]) == ("ollama_unavailable", True)
    assert properties.type == "llm.fleet.error"


def test_a_connection_that_breaks_once_is_tried_again(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    broken: list[int] = []

    def once(path: str, body: dict[str, Any]) -> Any:
        if not broken:
            broken.append(1)
            return None
        return answer(path, body)

    scripted.behave = once
    start(shared_broker, scripted.url).wait_ready()
    asker = Asker(shared_broker, CHAT)
    asker.ask()
    asker.wait(within=20)
    assert asker.only()[1]["message"]["content"] == "Good morning."


def test_drain_does_not_wait_for_an_ollama_that_is_away(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    worker = start(shared_broker, scripted.url, drain_timeout=3, ollama={"patience": 600}).wait_ready()
    asker = Asker(shared_broker, CHAT)
    scripted.stop()
    asker.ask()
    worker.wait_log("event=ollama_down")
    began = time.monotonic()
    worker.terminate()
    assert worker.wait_end(12) == 0
    assert time.monotonic() - began < 10
