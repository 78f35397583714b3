# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker that dies or drains: its requests still get answers."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from depth import rounds
from fleet_parts import CHAT_MODEL, ScriptedOllama, Slow, WorkerProcess, channel_to, eventually, hangable
from fleet_worker._fleet.lanes import lane

from .requesters import Asker

CHAT = lane("chat", CHAT_MODEL).queue
Start = Callable[..., WorkerProcess]
ROUNDS = rounds(quick=4, deep=100)


@pytest.fixture
def second() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as ollama:
        yield ollama


def waiting(broker: Any) -> int:
    with channel_to(broker) as channel:
        count: int = channel.queue_declare(CHAT, passive=True).method.message_count
        return count


@pytest.mark.parametrize("how", ["kill", "second SIGTERM"])
def test_request_of_a_dead_worker_is_answered_by_the_other_node(
    how: str, shared_broker: Any, scripted: ScriptedOllama, second: ScriptedOllama, start: Start
) -> None:
    slow = scripted.behave = Slow(60)
    first = start(shared_broker, scripted.url).wait_ready()
    asker = Asker(shared_broker, CHAT)
    asker.ask()
    slow.wait_for()
    start(shared_broker, second.url).wait_ready()
    if how == "kill":
        first.kill()
    else:
        first.terminate()
        first.wait_told("STATUS=draining: 1 running")
        first.terminate()
        assert first.wait_end(25) == 0, "before the drain's own time is over"
    asker.wait()
    properties, body = asker.only()
    assert body["message"]["content"] == "Good morning."
    assert properties.headers["x-legion-hostname"] == "gpu-1"
    assert properties.headers["x-legion-fleet-redelivered"] == 1
    eventually(lambda: waiting(shared_broker) == 0, "the lane is empty")
    slow.go_on.set()


@pytest.mark.every_version
def test_drain_answers_running_requests_and_returns_the_rest(
    shared_broker: Any, scripted: ScriptedOllama, second: ScriptedOllama, start: Start
) -> None:
    slow = scripted.behave = Slow(60)
    worker = start(shared_broker, scripted.url, concurrency=2).wait_ready()
    asker = Asker(shared_broker, CHAT)
    for _number in range(5):
        asker.ask()
    slow.wait_for(2)
    worker.terminate()
    worker.wait_told("STOPPING=1")
    worker.wait_told("STATUS=draining: 2 running, 0 held")
    assert worker.wait_told("EXTEND_TIMEOUT_USEC=") == "EXTEND_TIMEOUT_USEC=30000000"
    eventually(lambda: waiting(shared_broker) == 3, "the others are back in the queue")
    assert worker.process.poll() is None
    slow.go_on.set()
    assert worker.wait_end() == 0
    asker.wait(2)
    assert waiting(shared_broker) == 3
    assert len(scripted.calls) == 2
    start(shared_broker, second.url).wait_ready()
    asker.wait()
    assert all(len(answers) == 1 for answers in asker.answers.values())


def test_drain_at_its_timeout_returns_running_requests(
    shared_broker: Any, scripted: ScriptedOllama, second: ScriptedOllama, start: Start
) -> None:
    slow = scripted.behave = Slow(60)
    worker = start(shared_broker, scripted.url, drain_timeout=2).wait_ready()
    asker = Asker(shared_broker, CHAT)
    asker.ask()
    slow.wait_for()
    began = time.monotonic()
    worker.terminate()
    assert worker.wait_end() == 0
    assert 2 <= time.monotonic() - began < 25
    start(shared_broker, second.url).wait_ready()
    asker.wait()
    assert asker.only()[1]["message"]["content"] == "Good morning."
    slow.go_on.set()


def test_drain_after_a_second_sigterm_returns_running_requests(
    shared_broker: Any, scripted: ScriptedOllama, second: ScriptedOllama, start: Start
) -> None:
    slow = scripted.behave = Slow(120)
    worker = start(shared_broker, scripted.url, drain_timeout=100).wait_ready()
    asker = Asker(shared_broker, CHAT)
    asker.ask()
    slow.wait_for()
    worker.terminate()
    worker.wait_told("STOPPING=1")
    time.sleep(1.5)
    assert worker.process.poll() is None
    began = time.monotonic()
    worker.terminate()
    assert worker.wait_end() == 0
    assert time.monotonic() - began < 20
    eventually(lambda: waiting(shared_broker) == 1, "the request is back in the queue")
    start(shared_broker, second.url).wait_ready()
    asker.wait()
    assert asker.only()[1]["message"]["content"] == "Good morning."
    slow.go_on.set()


def test_drain_without_requests_ends_at_once(shared_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    worker = start(shared_broker, scripted.url).wait_ready()
    began = time.monotonic()
    worker.terminate()
    assert worker.wait_end() == 0
    assert time.monotonic() - began < 15, "before the drain's own time is over"
    assert not os.path.exists(worker.status_path)


@pytest.mark.every_version
def test_workers_killed_under_load_lose_no_request(
    shared_broker: Any, scripted: ScriptedOllama, second: ScriptedOllama, start: Start
) -> None:
    """Every request is answered; those answered twice are marked, and no more than were in flight at a kill."""
    for ollama in (scripted, second):
        ollama.behave = Slow(0.05)
    asker = Asker(shared_broker, CHAT)
    workers = [start(shared_broker, ollama.url, concurrency=2).wait_ready() for ollama in (scripted, second)]
    for _round in range(ROUNDS):
        for _number in range(10):
            asker.ask()
        time.sleep(random.uniform(0.0, 0.2))
        victim = random.randrange(2)
        workers[victim].kill()
        workers[victim] = start(shared_broker, (scripted, second)[victim].url, concurrency=2).wait_ready()
    asker.wait(within=60)
    time.sleep(0.5)
    asker.wait()
    assert set(asker.answers) == set(asker.asked)
    twice = [answers for answers in asker.answers.values() if len(answers) > 1]
    assert len(twice) <= 2 * ROUNDS
    for answers in twice:
        assert any("x-legion-fleet-redelivered" in (properties.headers or {}) for properties, _body in answers)
    assert waiting(shared_broker) == 0


def test_workers_with_random_signals_lose_no_request(
    shared_broker: Any, scripted: ScriptedOllama, second: ScriptedOllama, start: Start
) -> None:
    """Also while a worker is still starting, and while it drains. Every request is answered."""
    ollamas = (scripted, second)
    for ollama in ollamas:
        ollama.behave = Slow(0.05)
    asker = Asker(shared_broker, CHAT)
    workers = [start(shared_broker, ollama.url, concurrency=2, drain_timeout=5).wait_ready() for ollama in ollamas]
    for _round in range(ROUNDS):
        for _number in range(5):
            asker.ask()
        victim = random.randrange(2)
        worker = workers[victim]
        sent = []
        for _signal in range(random.randint(1, 3)):
            time.sleep(random.uniform(0.0, 0.3))
            if worker.process.poll() is None:
                sent.append(random.choice([signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]))
                worker.process.send_signal(sent[-1])
        time.sleep(random.uniform(0.0, 0.2))
        if worker.process.poll() is None and random.random() < 0.5:
            worker.kill()
        # SIGHUP ends a process that has not come to think of signals yet, and later none.
        if worker.process.poll() is not None or set(sent) - {signal.SIGHUP}:
            worker.wait_end()
            workers[victim] = start(shared_broker, ollamas[victim].url, concurrency=2, drain_timeout=5)
    for index, worker in enumerate(workers):
        eventually(
            lambda worker=worker: "READY=1" in worker.told or worker.process.poll() is not None, "one or the other", 60
        )
        if worker.process.poll() is not None:
            start(shared_broker, ollamas[index].url, concurrency=2).wait_ready()
    asker.wait(within=60)
    assert set(asker.answers) == set(asker.asked)
    eventually(lambda: waiting(shared_broker) == 0, "the lane is empty")


def test_watchdog_is_fed_only_while_the_loop_runs(shared_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    slow = scripted.behave = Slow(120)
    worker = start(shared_broker, scripted.url, environment={"WATCHDOG_USEC": "1000000"}).wait_ready()
    Asker(shared_broker, CHAT).ask()
    slow.wait_for()
    before = worker.told.count("WATCHDOG=1")
    eventually(lambda: worker.told.count("WATCHDOG=1") >= before + 5, "food: a long inference does not starve it")
    assert not slow.go_on.is_set() and worker.status()["in_flight"]
    os.kill(worker.process.pid, signal.SIGSTOP)
    time.sleep(1.0)
    before = worker.told.count("WATCHDOG=1")
    time.sleep(1.0)
    assert worker.told.count("WATCHDOG=1") == before
    os.kill(worker.process.pid, signal.SIGCONT)
    slow.go_on.set()


def test_watchdog_notices_a_main_loop_that_hangs_alone(
    shared_broker: Any, scripted: ScriptedOllama, start: Start, tmp_path: Path
) -> None:
    """All other threads continue: the status socket still answers, and names the cause."""
    environment = {"WATCHDOG_USEC": "1000000", **hangable(tmp_path)}
    worker = start(shared_broker, scripted.url, environment=environment).wait_ready()
    eventually(lambda: worker.told.count("WATCHDOG=1") >= 3, "a fed watchdog")

    def hung() -> Any:
        # More than once: a single signal was once seen to hang nothing.
        worker.process.send_signal(signal.SIGUSR2)
        return worker.status_now().get("error")

    # systemd would end it a second after the last of them.
    eventually(hung, "the status", within=60)
    before = worker.told.count("WATCHDOG=1")
    time.sleep(2.0)
    assert worker.told.count("WATCHDOG=1") == before
    assert "I/O thread did not answer" in worker.status_now()["error"]
    worker.kill()
