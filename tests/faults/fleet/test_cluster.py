# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of three brokers and three workers under load: nodes that lead lanes and workers die, stop, are cut off."""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import cluster
import pytest
from cluster_drill import CALM, Drill, Fault
from cluster_faults import all_leader_faults, all_other_faults, pull_cable
from depth import DEEP, choose_versions, rounds
from fleet_parts import ScriptedOllama, Slow, WorkerProcess, set_up_broker
from fleet_worker._fleet.lanes import lane
from fleet_worker.observe.status import ask as ask_status
from wire import Stage, Wire

MODELS = tuple(f"model-{number}:latest" for number in range(6))
LANES = [lane("chat", model).queue for model in MODELS]

WORKERS = 3
SLOTS = 2

#: Seconds that an answer takes. Together with the slots this decides the throughput, and not how fast the machine is.
SECONDS = 0.25

HEARTBEAT = 5

#: Names of the only faults to make, as a regular expression.
CHOSEN = os.environ.get("DRILL_FAULTS", "")

#: Whether the brokers have RabbitMQ's own settings, and not those of the role fleet_broker.
DEFAULTS = bool(os.environ.get("DRILL_DEFAULTS"))

Start = Callable[..., WorkerProcess]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    choose_versions(metafunc, "brokers", ("rabbitmq4", "rabbitmq3"))


@pytest.fixture(scope="module")
def brokers(request: pytest.FixtureRequest) -> Iterator[cluster.Cluster]:
    with cluster.cluster(request.param.removeprefix("rabbitmq"), as_the_role=not DEFAULTS) as running:
        set_up_broker(running)
        yield running


class LocalWorker:
    """A worker that is a process of this machine."""

    def __init__(self, name: str, start: Callable[[], WorkerProcess], aliases: dict[str, str]) -> None:
        """Start a worker.

        :param aliases: by addresses that the worker has for nodes, their own.
        """
        self.name = name
        self._start = start
        self._aliases = aliases
        self.process = start()

    def status(self) -> dict[str, Any]:
        state = ask_status(self.process.status_path)
        if "broker" in state:
            state["broker"] = self._aliases.get(state["broker"], state["broker"])
        return state

    def kill(self) -> None:
        self.process.kill()

    def start(self) -> None:
        self.process = self._start()
        self.process.wait_ready()

    def pause(self) -> None:
        self.process.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.process.send_signal(signal.SIGCONT)

    def is_stopped(self) -> bool:
        if self.process.process.poll() is not None:
            return True
        return Path(f"/proc/{self.process.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.fixture
def wires(brokers: cluster.Cluster) -> Iterator[list[Wire]]:
    """The cables of the first worker, one to each node."""
    made = [Wire(node.host, node.port) for node in brokers.nodes]
    yield made
    for wire in made:
        wire.close()


@pytest.fixture
def workers(brokers: cluster.Cluster, wires: list[Wire], scripted: ScriptedOllama, start: Start) -> list[LocalWorker]:
    """One worker for each node, which it prefers."""
    scripted.models = list(MODELS)
    scripted.behave = Slow(SECONDS)
    addresses = [f"{node.host}:{node.port}" for node in brokers.nodes]
    behind_wires = [f"127.0.0.1:{wire.port}" for wire in wires]
    lanes = [{"type": "chat", "model": model} for model in MODELS]

    def starting(number: int) -> Callable[[], WorkerProcess]:
        own = behind_wires if number == 0 else addresses[number:] + addresses[:number]
        return lambda: start(
            brokers,
            scripted.url,
            node=f"gpu-{number}",
            broker_addresses=own,
            broker_heartbeat=HEARTBEAT,
            lanes=lanes,
            concurrency=SLOTS,
        )

    aliases = dict(zip(behind_wires, addresses))
    made = [LocalWorker(f"gpu-{number}", starting(number), aliases) for number in range(WORKERS)]
    for worker in made:
        worker.process.wait_ready()
    return made


def test_faults_of_nodes_and_workers_lose_no_request(
    brokers: cluster.Cluster, workers: list[LocalWorker], wires: list[Wire]
) -> None:
    drill = Drill(brokers, workers, LANES, HEARTBEAT)
    for fault in _chosen(wires):
        drill.run(fault, CALM if DEEP else 2.0)
    print(drill.summary(), flush=True)
    problems = [str(report) for report in drill.reports if report.problems]
    if DEEP:
        # A quick run measures for two seconds, which is too short to compare anything.
        problems += drill.slower()
    assert not problems, "\n".join(problems)


def _chosen(wires: list[Wire]) -> list[Fault]:
    """Return the faults to be made, in their order."""
    leader_faults = all_leader_faults(HEARTBEAT)
    other_faults = [
        *all_other_faults(HEARTBEAT),
        *(pull_cable(wires, stage, 2.0 * HEARTBEAT) for stage in Stage),
    ]
    if CHOSEN:
        return [one for one in leader_faults + other_faults if re.search(CHOSEN, one.name)] * rounds(1, 1)
    faults = list(itertools.islice(itertools.cycle(leader_faults), rounds(1, 5 * len(leader_faults))))
    return faults + (other_faults if DEEP else [])
