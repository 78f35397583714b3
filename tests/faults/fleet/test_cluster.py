# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of three brokers under load: the one that leads a lane dies, or is cut off."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Callable

import cluster
import pytest
from depth import choose_versions, rounds
from fleet_parts import CHAT_MODEL, ScriptedOllama, WorkerProcess, set_up_broker
from fleet_worker._fleet.lanes import lane
from history import Verdict

from .asking import Asker

CHAT = lane("chat", CHAT_MODEL).queue

#: Seconds after a fault without an answer that count as a hang. The drill prints the real gap, which on a busy machine
#: is also that of the requester, who has to notice the fault like the workers.
SERVED_WITHIN = 90.0

#: Seconds of load before and after each fault.
CALM = 3.0

WORKERS = 3
HEARTBEAT = 5

Start = Callable[..., WorkerProcess]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    choose_versions(metafunc, "brokers", ("rabbitmq4", "rabbitmq3"))


@pytest.fixture(scope="module")
def brokers(request: pytest.FixtureRequest) -> Iterator[cluster.Cluster]:
    with cluster.cluster(request.param.removeprefix("rabbitmq")) as running:
        set_up_broker(running)
        yield running


class Load:
    """Asks again and again, in a thread, until it is left."""

    def __init__(self, brokers: cluster.Cluster) -> None:
        self.asker = Asker(brokers, CHAT, {"x-queue-type": "quorum"})
        self._over = threading.Event()
        self._error: list[BaseException] = []
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join(120)
        assert not self._error, self._error

    def _ask(self) -> None:
        try:
            while not self._over.wait(0.05):
                self.asker.ask()
                self.asker.collect()
        except BaseException as error:  # noqa: BLE001 - told by the test
            self._error.append(error)

    def answered(self) -> int:
        return len(self.asker.answers)

    def wait_for_more(self, number: int, within: float) -> float:
        """Wait until so many more requests are answered; return the seconds."""
        began, wanted = time.monotonic(), self.answered() + number
        while self.answered() < wanted:
            assert time.monotonic() < began + within, f"no answers for {within} s"
            time.sleep(0.05)
        return time.monotonic() - began


def _stop(node: cluster.Node, _others: list[cluster.Node]) -> Callable[[], None]:
    node.stop()
    return node.start


def _kill(node: cluster.Node, _others: list[cluster.Node]) -> Callable[[], None]:
    node.kill()
    return node.start


def _cut_off(node: cluster.Node, others: list[cluster.Node]) -> Callable[[], None]:
    node.cut_off(others)

    def heal() -> None:
        node.heal(others)

    return heal


#: What is done to the node that leads the lane, and for how many seconds.
FAULTS: list[tuple[str, Callable[..., Callable[[], None]], float]] = [
    ("kill", _kill, 3.0),
    ("cut off", _cut_off, 10.0),
    ("stop", _stop, 3.0),
]


def test_faults_of_the_node_that_leads_a_lane_lose_no_request(
    brokers: cluster.Cluster, scripted: ScriptedOllama, start: Start
) -> None:
    addresses = [f"{node.host}:{node.port}" for node in brokers.nodes]
    for number in range(WORKERS):
        own = addresses[number % len(addresses) :] + addresses[: number % len(addresses)]
        start(brokers, scripted.url, broker_addresses=own, broker_heartbeat=HEARTBEAT).wait_ready()
    lines = []
    verdict = Verdict()
    for name, make, seconds in itertools.islice(itertools.cycle(FAULTS), rounds(2, 36)):
        with Load(brokers) as load:
            time.sleep(CALM)
            node = brokers.leader_of(CHAT)
            before = load.answered()
            mending = threading.Timer(seconds, make(node, brokers.others(node)))
            mending.start()
            try:
                gap = load.wait_for_more(5, SERVED_WITHIN + seconds)
            finally:
                mending.join()
            load.wait_for_more(5, SERVED_WITHIN)
            time.sleep(CALM)
        load.asker.wait(within=120.0)
        verdict = load.asker.verdict()
        new = "the same" if brokers.leader_of(CHAT) is node else "another"
        lines.append(f"{name} {node.host_name} for {seconds:.1f} s: {verdict}; {gap:.1f} s, then {new} leader")
        print(lines[-1], flush=True)
        assert not verdict.findings and before > 0, "\n".join(lines)
        for other in brokers.nodes:
            other.wait_up()
        time.sleep(CALM)
