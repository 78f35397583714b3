# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: brokers with the fleet's exchanges and users, and workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from fleet_parts import ScriptedOllama, WorkerProcess, asking, channel_to, configuration, delete_queues, set_up_broker
from fleet_worker._fleet.broker import BrokerSettings
from fleet_worker._fleet.requester import Requester


@pytest.fixture(scope="session")
def fleet_broker(broker: Any) -> Any:
    """A broker with exchanges and dead-letter queue, shared by the tests."""
    set_up_broker(broker)
    return broker


@pytest.fixture
def clean_broker(fleet_broker: Any) -> Iterator[Any]:
    """The shared broker; the messages of the test are removed afterwards."""
    yield fleet_broker
    delete_queues(fleet_broker, "llm.")
    with channel_to(fleet_broker) as channel:
        channel.queue_purge("ollama.dlx.queue")


@pytest.fixture
def scripted() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as ollama:
        yield ollama


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers, and ends them."""
    started: list[WorkerProcess] = []

    def starting(
        broker: Any,
        ollama_url: str,
        *,
        password: str = "",
        environment: Any = None,
        secrets: Optional[dict[str, str]] = None,
        **others: Any,
    ) -> WorkerProcess:
        directory = tmp_path / f"worker-{len(started)}"
        directory.mkdir()
        for name, secret in (secrets or {}).items():
            (directory / name).write_text(secret)
        settings = configuration(broker, ollama_url, **others)
        worker = WorkerProcess(directory, settings, password=password or broker.password, **(environment or {}))
        started.append(worker)
        return worker

    yield starting
    for worker in started:
        worker.close()


@pytest.fixture
def requester(clean_broker: Any) -> Iterator[Requester]:
    with asking(BrokerSettings.from_url(clean_broker.amqp_url)) as made:
        yield made
