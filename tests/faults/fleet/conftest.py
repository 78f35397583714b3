# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the integration tests, and brokers that a test may break."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

TESTS = Path(__file__).resolve().parents[2]
for folder in (TESTS / "lab", TESTS / "integration" / "fleet"):
    sys.path.insert(0, str(folder))

from fixtures import broker, fresh_broker, leave_in_order  # noqa: E402
from fleet_parts import ScriptedOllama, WorkerProcess, channel_to, configuration, set_up_broker  # noqa: E402

__all__ = ["broker", "fresh_broker"]

leave_in_order()


@pytest.fixture
def own_broker(fresh_broker: Any) -> Any:
    """A broker in order, for one test alone."""
    set_up_broker(fresh_broker)
    return fresh_broker


@pytest.fixture
def shared_broker(broker: Any) -> Iterator[Any]:
    """A broker in order that other tests use too."""
    set_up_broker(broker)
    yield broker
    lanes = [line.split()[0] for line in broker.ctl("-q", "list_queues", "name").splitlines() if "llm." in line]
    with channel_to(broker) as channel:
        for queue in lanes:
            channel.queue_delete(queue)


@pytest.fixture
def scripted() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as ollama:
        yield ollama


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers, and ends them."""
    started: list[WorkerProcess] = []

    def starting(broker: Any, ollama_url: str, *, environment: Any = None, **others: Any) -> WorkerProcess:
        directory = tmp_path / f"worker-{len(started)}"
        directory.mkdir()
        settings = configuration(broker, ollama_url, **{"node": f"gpu-{len(started)}", **others})
        worker = WorkerProcess(directory, settings, password=broker.password, **(environment or {}))
        started.append(worker)
        return worker

    yield starting
    for worker in started:
        worker.close()
