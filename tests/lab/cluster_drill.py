# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drills of a fleet with a cluster of brokers: one fault after the other under load, and what each of them cost.

The same drills run over nodes and workers that are processes of this machine (tests/faults/fleet/test_cluster.py), and
over the hosts of Molecule's scenario ``cluster`` (tests/lab/drill_hosts.py).
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol

from cluster import Cluster, Node
from history import Verdict, judge
from lane_requesters import LaneRequesters

#: Seconds of load before and after each fault in which the throughput is measured: some hundred answers.
CALM = 20.0

#: The part of the throughput of before that there has to be afterwards: the median of each kind of fault.
AS_BEFORE = 0.95

#: Seconds within which every lane has to be served again, from the time at which the fault is to end.
SERVED_WITHIN = 30.0

#: Seconds for everything to be in order again afterwards.
PATIENCE = 150.0

#: Requests that each lane has at a time: more than the workers have slots for, so that the slots decide the throughput.
WIDTH = 4

#: Seconds within which the broker knows of all consumers that there are, and of no others.
SETTLED_WITHIN = 30.0

#: Seconds between two looks at the status of each worker.
LOOK = 0.5


class DrilledWorker(Protocol):
    """A worker that can be broken."""

    name: str

    def status(self) -> dict[str, Any]:
        """Return what the worker tells of itself.

        :raises OSError: when it tells nothing.
        """

    def kill(self) -> None:
        """End it without warning."""

    def start(self) -> None:
        """Start it again."""

    def pause(self) -> None:
        """Stop its process."""

    def go_on(self) -> None:
        """Let its process go on."""

    def is_stopped(self) -> bool:
        """Whether its process has ended, or is stopped."""


@dataclass
class Scene:
    """Who is there when a fault is made.

    :ivar lanes: the queues.
    :ivar victim: the node that leads half of the lanes.
    :ivar heartbeat: seconds, of the workers' connections.
    """

    cluster: Cluster
    workers: Sequence[DrilledWorker]
    lanes: Sequence[str]
    victim: Node
    heartbeat: int


@dataclass(frozen=True)
class Fault:
    """Something that is broken on purpose.

    :ivar name: for people.
    :ivar make: breaks it.
    :ivar is_made: whether it is broken, asked while it is.
    :ivar mend: ends it.
    :ivar seconds: how long it lasts.
    :ivar gone: whether the victim answers no client meanwhile.
    :ivar of_leader: whether it concerns the node that leads half of the lanes.
    """

    name: str
    make: Callable[[Scene], None]
    is_made: Callable[[Scene], bool]
    mend: Callable[[Scene], None]
    seconds: float
    gone: bool = False
    of_leader: bool = True


@dataclass
class Report:
    """What a fault has cost.

    :ivar longest_gap: seconds between two answers in the lane that had to wait longest.
    :ivar served_again: seconds from the time at which the fault was there until each lane had answered a request that
        was sent since.
    :ivar moved: lanes that another node leads afterwards.
    :ivar before: answers a second.
    :ivar after: the same, when everything is in order again.
    :ivar problems: what must not be.
    """

    fault: str
    verdict: Verdict = field(default_factory=Verdict)
    longest_gap: float = 0.0
    served_again: float = 0.0
    moved: int = 0
    before: float = 0.0
    after: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else 0.0

    def __str__(self) -> str:
        found = self.verdict
        lost = sum(one.kind == "lost" for one in found.findings)
        figures = (
            f"sent {found.sent}, answered {found.answered}, lost {lost}, repeated {found.repeated},"
            f" longest gap {self.longest_gap:.1f} s,"
            f" all lanes served after {self.served_again:.1f} s, {self.moved} lanes moved,"
            f" {self.before:.1f} then {self.after:.1f} answers/s ({self.ratio:.2f})"
        )
        return "\n    ".join([f"{self.fault}: {figures}", *(f"PROBLEM {problem}" for problem in self.problems)])


class _StatusWatch:
    """Looks at what the workers say of themselves while a fault lasts, and whether it is true."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(worker,), daemon=True) for worker in scene.workers]
        self.lies: list[str] = []
        self.looks = 0
        #: When the victim answered no client, on the monotonic clock.
        self.gone_since = self.gone_until = float("inf")

    def __enter__(self) -> _StatusWatch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _watch(self, worker: DrilledWorker) -> None:
        while not self._over.wait(LOOK):
            asked = time.monotonic()
            try:
                state = worker.status()
            except (OSError, ValueError):
                continue  # it says nothing
            if "error" in state or time.monotonic() - asked > 2:
                continue
            self.looks += 1
            self.judge(worker, state, asked)

    @property
    def noticed(self) -> float:
        """From when on no worker may say that it is connected to the victim."""
        # pika looks for a sign of life every heartbeat and five seconds, and wants none missing twice.
        return self.gone_since + 2 * (self._scene.heartbeat + 5) + 2

    def judge(self, worker: DrilledWorker, state: dict[str, Any], now: float) -> None:
        """Look whether what a worker says of itself can be true."""
        served = [lane["queue"] for lane in state["lanes"] if lane["state"] in ("push", "pull")]
        if served and not state["connected"]:
            self.lies.append(f"{worker.name} has no connection and says that it serves {served}: {state['summary']}")
        if (
            self.noticed < now < self.gone_until
            and state["connected"]
            and state["broker"].startswith(self._scene.victim.host)
        ):
            self.lies.append(f"{worker.name} says that it is connected to {state['broker']}, which answers nobody")


class Drill:
    """Makes faults, and says what each has cost.

    :param set_scene: makes the scene of a fault: who is the victim of the number.
    """

    def __init__(
        self, cluster: Cluster, workers: Sequence[DrilledWorker], lanes: Sequence[str], heartbeat: int
    ) -> None:
        self._cluster, self._workers, self._lanes, self._heartbeat = cluster, workers, lanes, heartbeat
        self._number = 0
        self.reports: list[Report] = []

    def run(self, fault: Fault, calm: float = CALM) -> Report:
        """Make a fault under load; print and return what it has cost."""
        scene = self._set_scene(fault)
        report = Report(f"{fault.name} ({scene.victim.host_name})")
        hosts = [(node.host, node.port) for node in self._cluster.nodes]
        with LaneRequesters(hosts, self._cluster.username, self._cluster.password, self._lanes, WIDTH) as load:
            came = time.monotonic()
            self._wait_served(load, came, PATIENCE)
            self._wait_workers(report)
            load.fault("what was before: leaders were moved, and nodes have come back", came)
            time.sleep(1.0)
            began = time.monotonic()
            time.sleep(calm)
            report.before = load.count(began, began + calm) / calm
            with _StatusWatch(scene) as watch:
                broken = time.monotonic()
                fault.make(scene)
                made = time.monotonic()
                if fault.gone:
                    watch.gone_since = time.monotonic()
                try:
                    if not fault.is_made(scene):
                        report.problems.append("the fault was not there when it was looked for")
                    time.sleep(max(0.0, broken + fault.seconds - time.monotonic()))
                finally:
                    watch.gone_until = time.monotonic()
                    fault.mend(scene)
                mended = time.monotonic()
                self._wait_served(load, made, PATIENCE)
                self._cluster.wait_whole()
                self._wait_workers(report)
            load.fault(fault.name, broken)
            report.served_again = max(_served_again(load, queue, made) for queue in self._lanes) - made
            time.sleep(1.0)
            again = time.monotonic()
            time.sleep(calm)
            report.after = load.count(again, again + calm) / calm
            missing = load.finish(PATIENCE)
            time.sleep(0.3)
            report.longest_gap = max(
                longest_gap([at for at, _sent in load.lanes[queue].answers], broken, again) for queue in self._lanes
            )
        report.problems += waited_too_long(report, fault)
        # Nobody breaks Ollama here, so no error is excused.
        report.verdict = judge(load.history.events)
        report.problems += [str(finding) for finding in report.verdict.findings]
        report.problems += self._wait_consumers()
        report.problems += sorted(set(watch.lies))[:5]
        if missing:
            report.problems.append(f"{missing} requests had no answer {PATIENCE:.0f} s after the last was sent")
        if not watch.looks:
            report.problems.append("no worker has ever told its status")
        leaders = self._cluster.leaders()
        report.moved = sum(leaders.get(queue) is not scene.victim for queue in self._lanes[: len(self._lanes) // 2])
        self.reports.append(report)
        print(f"{mended - broken:6.1f} s  {report}", flush=True)
        return report

    def _set_scene(self, fault: Fault) -> Scene:
        """Have one node lead half of the lanes, and the others the rest."""
        nodes = self._cluster.nodes
        victim = nodes[self._number % len(nodes)]
        other = nodes[(self._number + 1) % len(nodes)]
        self._number += 1
        half = len(self._lanes) // 2
        if fault.of_leader:
            self._cluster.lead(self._lanes[:half], victim)
            self._cluster.lead(self._lanes[half:], other)
        return Scene(self._cluster, self._workers, self._lanes, victim, self._heartbeat)

    def _wait_served(self, load: LaneRequesters, since: float, within: float) -> None:
        """Wait until each lane has answered a request that was sent since then."""
        deadline = time.monotonic() + within
        while any(_served_again(load, queue, since) == float("inf") for queue in self._lanes):
            if time.monotonic() > deadline:
                silent = [queue for queue in self._lanes if _served_again(load, queue, since) == float("inf")]
                raise AssertionError(f"no answers for {within:.0f} s from {silent}")
            time.sleep(0.1)

    def _wait_workers(self, report: Report) -> None:
        """Wait until each worker says that it serves every lane."""
        deadline = time.monotonic() + PATIENCE
        for worker in self._workers:
            while True:
                try:
                    state = worker.status()
                except (OSError, ValueError):
                    state = {"error": "no status"}
                if "error" not in state and all(lane["state"] in ("push", "pull") for lane in state["lanes"]):
                    break
                if time.monotonic() > deadline:
                    report.problems.append(f"{worker.name} does not serve its lanes: {state}")
                    return
                time.sleep(0.2)

    def _wait_consumers(self) -> list[str]:
        """Wait until the broker has the consumers that the workers say they have; return what is still wrong then.

        Nothing is asked any more, so the workers have a consumer for every lane.
        """
        deadline = time.monotonic() + SETTLED_WITHIN
        while True:
            try:
                states = [worker.status() for worker in self._workers]
                wrong = wrong_consumers(states, self._cluster.consumers(), self._lanes)
            except (OSError, ValueError, LookupError, RuntimeError) as error:
                wrong = [f"no consumers to compare: {error}"]
            if not wrong or time.monotonic() > deadline:
                return wrong
            time.sleep(1.0)

    def slower(self, least: float = AS_BEFORE) -> list[str]:
        """Say after which kinds of faults the throughput was not as before, by the median of each kind."""
        return [
            f"{kind}: the throughput was {ratio:.3f} of that before (median of {len(reports)})"
            for kind, reports in self._kinds().items()
            for ratio in [statistics.median(one.ratio for one in reports)]
            if ratio < least
        ]

    def _kinds(self) -> dict[str, list[Report]]:
        kinds: dict[str, list[Report]] = {}
        for report in self.reports:
            kinds.setdefault(report.fault.split(" (")[0], []).append(report)
        return kinds

    def summary(self) -> str:
        """Return the figures of all faults, by kind."""
        lines = []
        for kind, reports in self._kinds().items():
            lines.append(
                f"{kind}: {len(reports)} times, sent {sum(one.verdict.sent for one in reports)},"
                f" lost {sum(found.kind == 'lost' for one in reports for found in one.verdict.findings)},"
                f" repeated {sum(one.verdict.repeated for one in reports)},"
                f" longest gap {max(one.longest_gap for one in reports):.1f} s"
                f" (median {statistics.median(one.longest_gap for one in reports):.1f} s),"
                f" throughput after to before {statistics.median(one.ratio for one in reports):.3f} (median)"
            )
        return "\n".join(lines)


def _served_again(load: LaneRequesters, queue: str, since: float) -> float:
    """Return when a lane had answered a request that was sent since then, or infinity."""
    answers = list(load.lanes[queue].answers)
    return next((at for at, sent in answers if sent >= since), float("inf"))


def longest_gap(answers: Sequence[float], since: float, until: float) -> float:
    """Return the longest time without an answer in a span; the time after the last answer is one, too."""
    times = [since, *sorted(at for at in answers if since <= at <= until), until]
    return max(later - earlier for earlier, later in zip(times, times[1:]))


def waited_too_long(report: Report, fault: Fault) -> list[str]:
    """Say whether a lane had to wait for too long.

    The time until it is served again begins when the fault is there: before, the fault can have had no effect yet. The
    longest time without an answer begins before it, and covers each node of a rolling restart.
    """
    most = SERVED_WITHIN + fault.seconds
    problems = []
    if report.served_again > most:
        problems.append(f"a lane was not served for {report.served_again:.1f} s")
    if report.longest_gap > most:
        problems.append(f"a lane was without an answer for {report.longest_gap:.1f} s")
    return problems


def wrong_consumers(states: Sequence[dict[str, Any]], consumers: Mapping[str, int], lanes: Sequence[str]) -> list[str]:
    """Compare what workers without requests say of themselves with the consumers that the broker has.

    :param states: the status of each worker.
    :param consumers: of each queue, at the broker.
    """
    wrong = []
    for queue in lanes:
        pushed = sum(one["queue"] == queue and one["state"] == "push" for state in states for one in state["lanes"])
        # A worker has a second consumer in one of its lanes.
        if not pushed <= consumers.get(queue, 0) <= 2 * pushed:
            wrong.append(f"{pushed} workers say that {queue} is pushed, and it has {consumers.get(queue, 0)} consumers")
        if pushed < len(states):
            wrong.append(f"{queue} has a consumer of {pushed} workers out of {len(states)}, and nothing is asked")
    return wrong
