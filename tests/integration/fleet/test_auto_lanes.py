# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Automatic lanes from Ollama's models, with a real broker."""

from __future__ import annotations

import threading
from typing import Any, Callable

from fleet_parts import CHAT_MODEL, EMBED_MODEL, ScriptedOllama, Slow, WorkerProcess, eventually
from fleet_worker._fleet.dialects import dialect_named
from fleet_worker._fleet.lanes import lane
from fleet_worker._fleet.messages import Question
from fleet_worker._fleet.requester import Requester

MESSAGES = [{"role": "user", "content": "Hello"}]
Start = Callable[..., WorkerProcess]


def served(worker: WorkerProcess) -> set[str]:
    return {one["queue"] for one in worker.status()["lanes"] if one["state"] != "paused"}


def ask(requester: Requester, queue: str, exchange: str = "llm.request") -> Any:
    question = Question("chat", CHAT_MODEL, {"messages": MESSAGES}, 30)
    return requester.ask(question, dialect_named("typed"), exchange=exchange, routing_key=queue, seconds=30)


def test_auto_lanes_follow_every_allowed_model(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    scripted.models = [CHAT_MODEL, EMBED_MODEL, "secret:1b"]
    worker = start(
        clean_broker,
        scripted.url,
        lanes="auto",
        auto_lanes={"deny": ["secret*"], "styles": ["model", "shared"], "deadline": 60, "consumer_priority": 5},
        ollama={"interval": 0.3},
    ).wait_ready()
    everything = {
        "llm.request.ollama.chat.smollm2.135m",
        "llm.request.ollama.generate.smollm2.135m",
        "llm.fleet.inference.smollm2-135m",
        "llm.request.ollama.embed.all-minilm.latest",
        "llm.request.ollama.embed.all-minilm",
        "llm.fleet.embed.all-minilm-latest",
        "llm.fleet.embed.all-minilm",
    }
    assert served(worker) == everything
    # Both styles, and both exchanges.
    for exchange in ("llm.request", "llm.fleet"):
        for queue in ("llm.request.ollama.chat.smollm2.135m", "llm.fleet.inference.smollm2-135m"):
            assert ask(requester, queue, exchange).answer.text == "Good morning."

    scripted.models = [CHAT_MODEL, "qwen3:0.6b"]
    gone = {queue for queue in everything if "minilm" in queue}
    come = {"llm.request.ollama.chat.qwen3.0.6b", "llm.request.ollama.generate.qwen3.0.6b"}
    come.add("llm.fleet.inference.qwen3-0-6b")
    eventually(lambda: served(worker) == everything - gone | come, "the lanes of the models", worker=worker)
    assert "event=lanes_changed" in worker.log


def test_auto_lane_that_is_removed_finishes_its_running_request(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    slow = scripted.behave = Slow(30)
    worker = start(clean_broker, scripted.url, lanes="auto", ollama={"interval": 0.3}).wait_ready()
    queue = lane("chat", CHAT_MODEL).queue

    def later() -> None:
        slow.wait_for()
        scripted.models = []
        eventually(lambda: not worker.status()["lanes"], "no lane", worker=worker)
        slow.go_on.set()

    thread = threading.Thread(target=later)
    thread.start()
    assert ask(requester, queue).answer.text == "Good morning."
    thread.join()


def test_listed_lanes_keep_their_settings_beside_automatic_ones(
    clean_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    worker = start(
        clean_broker,
        scripted.url,
        lanes=[{"type": "chat", "model": CHAT_MODEL, "style": "shared", "context_window": 4096}],
        auto_lanes={"allow": [EMBED_MODEL], "styles": ["shared"]},
    ).wait_ready()
    assert served(worker) == {
        "llm.fleet.inference.smollm2-135m.ctx4096",
        "llm.fleet.embed.all-minilm",
        "llm.fleet.embed.all-minilm-latest",
    }
