# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queues with an expiry, while every node is busy for longer than the expiry."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from fleet_parts import CHAT_MODEL, SOURCES, ScriptedOllama, Slow, WorkerProcess, eventually
from fleet_worker._fleet.lanes import lane

from .requesters import Asker

Start = Callable[..., WorkerProcess]
LANES = [
    {"type": "chat", "model": CHAT_MODEL, "style": "shared"},
    {"type": "chat", "model": "another:1b", "style": "shared"},
    {"type": "chat", "model": CHAT_MODEL, "style": "shared", "context_window": 4096},
]

#: Milliseconds; 60,000 on a real lane, with which this test would take as many times longer.
EXPIRES = 5000

IMPATIENT = f"""
from fleet_worker._fleet import lanes
lanes._SHARED_ARGUMENTS = {{**lanes._SHARED_ARGUMENTS, "x-expires": {EXPIRES}}}
"""


def there(broker: Any, *queues: str) -> bool:
    # Not by declaring them passively, which would count as use.
    return set(queues) <= set(broker.queues())


@pytest.mark.every_version
def test_lanes_of_busy_nodes_do_not_expire(
    shared_broker: Any, scripted: ScriptedOllama, start: Start, tmp_path: Path
) -> None:
    """For three times the expiry of the queues."""
    (tmp_path / "sitecustomize.py").write_text(IMPATIENT)
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(SOURCES)])}
    scripted.models.append("another:1b")
    slow = scripted.behave = Slow(120)
    worker = start(
        shared_broker, scripted.url, concurrency=1, lanes=LANES, exchanges=["llm.request"], environment=environment
    ).wait_ready()
    queues = [
        lane("chat", one["model"], style="shared", context_window=one.get("context_window")).queue for one in LANES
    ]
    askers = [Asker(shared_broker, queue) for queue in queues]
    askers[0].ask()
    slow.wait_for()
    for asker in askers:
        for _number in range(6):
            asker.ask(model=None)
    eventually(lambda: {one["state"] for one in worker.status()["lanes"]} == {"pull"}, "no lane has a consumer")
    busy_until = time.monotonic() + 3 * EXPIRES / 1000
    while time.monotonic() < busy_until:
        time.sleep(1)
        assert there(shared_broker, *queues)
    assert len(scripted.calls) == 1, "it was busy all the time"
    slow.go_on.set()
    for asker in askers:
        asker.wait(within=120)
        assert set(asker.answers) == set(asker.asked)
        for answers in asker.answers.values():
            # A header may call one redelivered: RabbitMQ counts what was on its way to a consumer that was cancelled,
            # though the worker never saw it ("what is on its way to a consumer that is cancelled is returned, and
            # counts" in test_broker_model.py).
            ((_properties, body),) = answers
            assert body["message"]["content"] == "Good morning."
    assert len(scripted.calls) == sum(len(asker.asked) for asker in askers), "each was asked of Ollama once"


@pytest.mark.every_version
def test_lanes_without_a_worker_expire(
    shared_broker: Any, scripted: ScriptedOllama, start: Start, tmp_path: Path
) -> None:
    """Without this the test above would prove nothing."""
    (tmp_path / "sitecustomize.py").write_text(IMPATIENT)
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(SOURCES)])}
    worker = start(
        shared_broker, scripted.url, lanes=LANES[:1], exchanges=["llm.request"], environment=environment
    ).wait_ready()
    queue = lane("chat", CHAT_MODEL, style="shared").queue
    assert there(shared_broker, queue)
    worker.terminate()
    worker.wait_end()
    eventually(lambda: not there(shared_broker, queue), "the queue has expired", 60)
