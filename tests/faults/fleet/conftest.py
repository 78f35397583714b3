# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the integration tests, and brokers that a test may break."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pika
import pytest
import services
from fixtures import broker, fresh_broker, leave_in_order, pytest_generate_tests, s3
from fleet_parts import ScriptedOllama, WorkerProcess, configuration, delete_queues, set_up_broker

from .requesters import Record

__all__ = ["broker", "fresh_broker", "pytest_generate_tests", "s3"]

leave_in_order()


@pytest.fixture(autouse=True)
def judged() -> Iterator[None]:
    """Judge what every requester of a test has seen: nothing is lost, and a repeated answer says that it may be one."""
    Record.made.clear()
    yield
    findings = [str(finding) for record in Record.made for finding in record.verdict().findings]
    assert not findings, findings


@pytest.fixture
def own_broker(fresh_broker: Any) -> Any:
    """A configured broker for one test."""
    set_up_broker(fresh_broker)
    return fresh_broker


@pytest.fixture(scope="module")
def running_broker() -> Iterator[Any]:
    with services.rabbitmq("4") as running:
        yield running


@pytest.fixture
def lent_broker(running_broker: Any) -> Iterator[Any]:
    """A shared, configured broker that must not stop; a test must undo its changes of alarms and rights."""
    try:
        set_up_broker(running_broker)
    except pika.exceptions.AMQPError:  # a test that failed has not come to that
        running_broker.ctl("change_password", running_broker.username, running_broker.password)
        running_broker.ctl("set_permissions", running_broker.username, ".*", ".*", ".*")
        set_up_broker(running_broker)
    yield running_broker
    with contextlib.suppress(pika.exceptions.AMQPError):
        delete_queues(running_broker, "llm.")


@pytest.fixture
def shared_broker(broker: Any) -> Iterator[Any]:
    """A configured broker that other tests use, too."""
    set_up_broker(broker)
    yield broker
    delete_queues(broker, "llm.")


@pytest.fixture
def scripted() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as ollama:
        yield ollama


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers, and ends them."""
    started: list[WorkerProcess] = []

    def starting(
        broker: Any, ollama_url: str, *, environment: Any = None, directory: Optional[Path] = None, **others: Any
    ) -> WorkerProcess:
        if directory is None:
            directory = tmp_path / f"worker-{len(started)}"
            directory.mkdir()
        settings = configuration(broker, ollama_url, **{"node": f"gpu-{len(started)}", **others})
        worker = WorkerProcess(directory, settings, password=broker.password, **(environment or {}))
        started.append(worker)
        return worker

    yield starting
    for worker in started:
        worker.close()
