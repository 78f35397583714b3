# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the integration tests, and brokers that a test may break."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pika
import pytest
import services
from fixtures import broker, fresh_broker, leave_in_order, pytest_generate_tests, s3
from fleet_parts import ScriptedOllama, WorkerProcess, configuration, delete_queues, set_up_broker
from wire import Wire

from .requesters import Asker, Record

__all__ = ["broker", "fresh_broker", "pytest_generate_tests", "s3"]

leave_in_order()


def _note(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    """Have a method of a part note that it breaks something."""
    real = getattr(owner, name)

    def noting(self: Any, *arguments: Any, **options: Any) -> Any:
        if not any(str(one).startswith(HARMLESS) for one in arguments):
            Record.broken(f"{owner.__name__}.{name}")
        return real(self, *arguments, **options)

    monkeypatch.setattr(owner, name, noting)


#: How commands of rabbitmqctl begin that break nothing, and the option before them.
HARMLESS = ("list_", "-q")


@pytest.fixture(autouse=True)
def judged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Judge what every requester of a test has seen.

    Nothing is lost, no error comes that the test does not want, and a repeated answer says that it may be one. It also
    needs a fault that explains it: a signal to a process, what is done to a broker, or a cable that is cut.
    """
    for made in (Record.made, Record.faults, Asker.made):
        made.clear()
    broken = (subprocess.Popen, ("send_signal",)), (services.Broker, ("stop", "kill", "ctl")), (Wire, ("cut", "close"))
    for owner, names in broken:
        for name in names:
            _note(monkeypatch, owner, name)
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
    # The ends of the workers explain nothing: by then everything is answered.
    faults = list(Record.faults)
    for worker in started:
        worker.close()
    Record.faults[:] = faults
    # Here and not in `judged`, which ends when the broker of the test is gone.
    for asker in Asker.made:
        asker.collect_late()
