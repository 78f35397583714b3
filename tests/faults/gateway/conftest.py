# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet with two gateways, on a broker that a test may break."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from fixtures import broker, fresh_broker, leave_in_order, pytest_generate_tests
from fleet_parts import ScriptedOllama, WorkerProcess, configuration, delete_queues, set_up_broker
from gateway_parts import LANES, GatewayProcess

__all__ = ["broker", "fresh_broker", "pytest_generate_tests"]

leave_in_order()

Start = Callable[..., Any]


@pytest.fixture
def scripted() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as ollama:
        yield ollama


@pytest.fixture
def shared_broker(broker: Any) -> Iterator[Any]:
    """A broker in order that other tests use too."""
    set_up_broker(broker)
    yield broker
    delete_queues(broker, "llm.")


@pytest.fixture
def own_broker(fresh_broker: Any) -> Any:
    """A broker in order, for one test alone."""
    set_up_broker(fresh_broker)
    return fresh_broker


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts workers and gateways at a broker, and ends them."""
    started: list[Any] = []

    def starting(kind: type, broker: Any, *given: Any, **settings: Any) -> Any:
        directory = tmp_path / f"{kind.__name__}-{len(started)}"
        if kind is GatewayProcess:
            made: Any = GatewayProcess(directory, broker, **settings)
        else:
            directory.mkdir()
            settings = {"lanes": LANES, "registry": {"heartbeat_interval": 1}, **settings}
            made = WorkerProcess(directory, configuration(broker, *given, **settings), password=broker.password)
        started.append(made)
        return made.wait_ready()

    yield starting
    for one in reversed(started):
        one.close()
