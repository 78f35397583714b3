# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gateways, and a small fleet behind them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "fleet"), str(Path(__file__).resolve().parent)]

from browser_parts import Tab, running_browser  # noqa: E402
from fleet_parts import ScriptedOllama, WorkerProcess, configuration, delete_queues, set_up_broker  # noqa: E402
from gateway_parts import LANES, GatewayProcess, Stepwise  # noqa: E402


@pytest.fixture(scope="session")
def fleet_broker(broker: Any) -> Any:
    """A broker with exchanges and dead-letter queue, shared by the tests."""
    set_up_broker(broker)
    return broker


@pytest.fixture
def scripted() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as ollama:
        yield ollama


Work = Callable[..., WorkerProcess]
Front = Callable[..., GatewayProcess]


@pytest.fixture
def work(fleet_broker: Any, tmp_path: Path) -> Iterator[Work]:
    """Starts workers that speak every second, and ends them."""
    started: list[WorkerProcess] = []

    def starting(ollama_url: str, **others: Any) -> WorkerProcess:
        directory = tmp_path / f"worker-{len(started)}"
        directory.mkdir()
        others = {"lanes": LANES, "registry": {"heartbeat_interval": 1}, **others}
        worker = WorkerProcess(
            directory, configuration(fleet_broker, ollama_url, **others), password=fleet_broker.password
        )
        started.append(worker)
        return worker.wait_ready()

    yield starting
    for worker in started:
        worker.close()
    delete_queues(fleet_broker, "llm.")


@pytest.fixture
def front(fleet_broker: Any, tmp_path: Path) -> Iterator[Front]:
    """Starts gateways, and ends them."""
    started: list[GatewayProcess] = []

    def starting(**settings: Any) -> GatewayProcess:
        gateway = GatewayProcess(tmp_path / f"gateway-{len(started)}", fleet_broker, **settings)
        started.append(gateway)
        return gateway

    yield starting
    for gateway in started:
        gateway.close()


@pytest.fixture(scope="module")
def real(fleet_broker: Any, ollama: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with a worker and a real Ollama behind it, for all tests of a module."""
    directory = tmp_path_factory.mktemp("real")
    (directory / "worker").mkdir()
    settings = configuration(fleet_broker, ollama.url, lanes=LANES, registry={"heartbeat_interval": 1})
    worker = WorkerProcess(directory / "worker", settings, password=fleet_broker.password)
    gateway = GatewayProcess(directory / "gateway", fleet_broker, node_timeout=6)
    try:
        worker.wait_ready()
        yield gateway.wait_ready()
    finally:
        gateway.close()
        worker.close()
        delete_queues(fleet_broker, "llm.")


@pytest.fixture
def stepwise(scripted: ScriptedOllama) -> Stepwise:
    scripted.behave = made = Stepwise()
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as running:
        yield running


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    """Opens the page of a gateway; at the end the browser must have had nothing to complain about."""
    with contextlib.ExitStack() as stack:
        opened: list[Tab] = []

        def opening(gateway: GatewayProcess, **options: Any) -> Tab:
            context = browser.new_context(**options)
            stack.callback(context.close)
            opened.append(Tab(context, gateway.url + "/"))
            return opened[-1]

        yield opening
        for one in opened:
            assert one.complaints == []
            assert {address.split("/")[2] for address in one.addresses} == {one.page.url.split("/")[2]}
