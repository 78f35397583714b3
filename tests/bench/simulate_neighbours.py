# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate imports from neighbours: the decisions of the real code, on links and with a clock that are computed.

usage: in-stage.sh python tests/bench/simulate_neighbours.py [--nodes N] [--rate MBIT] [--mirror MBIT] [--blob SIZE]
                                                             [--uploads N] [--hash MIB] [--seed N]

The classes Swarm and PieceWatch decide as on a node; bytes, threads and connections are left out. Assumptions: all
requests share each link fairly (max-min up to 100 nodes, equal shares of both ends above); the network between the
links is not a limit; a request takes 30 ms until its first byte; all nodes begin within half a second; nobody fails;
hashing takes the rate of --hash on each node, in order; disks and processors take no other time.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[5]))

from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers import (
    neighbour,
    neighbourhood,
    swarm,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_list import (
    PieceList,
    piece_size_of,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_marks import (
    CLAIMED,
    MISSING,
    PRESENT,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.bandwidth import Bandwidth
from sizes import size

#: Seconds until the first byte of an answer; seconds within which nodes begin; seconds of the first round of looks.
LATENCY, BEGIN, FIRST_ROUND = 0.03, 0.5, 0.1
#: Requests of a node at the same time, as for an import.
CONCURRENCY = 8
#: Nodes up to which shares are computed exactly.
EXACT = 100


class Clock:
    """The time of the simulation, for the real code too."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


CLOCK = Clock()


class SimulatedFile:
    """What a node has of the blob."""

    def __init__(self, pieces: PieceList, importer: str) -> None:
        self.pieces, self.importer = pieces, importer
        self.present = [False] * len(pieces.digests)
        self.lacking = len(self.present)
        self.marks = bytearray([MISSING]) * len(self.present)
        self._view: Optional[neighbour.View] = None

    def mark(self, number: int, mark: int) -> None:
        self.marks[number], self._view = mark, None

    def claim(self, number: int) -> None:
        self.mark(number, CLAIMED)

    def release(self, number: int) -> None:
        if not self.present[number]:
            self.mark(number, MISSING)

    def put(self, number: int) -> None:
        if not self.present[number]:
            self.present[number] = True
            self.lacking -= 1
            self.mark(number, PRESENT)

    @property
    def view(self) -> neighbour.View:
        """What others see, the same object until it changes."""
        if self._view is None:
            self._view = neighbour.View(bytes(self.marks), self.importer if self.lacking else "")
        return self._view


class SimulatedNeighbour(neighbour.Neighbour):
    """Another node, as one node sees it."""

    def __init__(self, node: Node) -> None:
        super().__init__(f"gpu-{node.number}", None)
        self.node = node

    def look(self, _pieces: PieceList) -> Optional[neighbour.View]:
        return self.node.file.view if CLOCK.now >= self.node.begins else None


class SimulatedWatch(neighbourhood.PieceWatch):
    """A watch whose looks take no threads."""

    def _round(self, neighbours: Any, _seconds: float) -> None:
        for one in neighbours:
            self._look(one)
        self._take_stock()


@dataclass(eq=False)
class Flow:
    """One answer on its way. The mirror is node None."""

    number: int
    source: Optional[SimulatedNeighbour]
    node: Node
    left: float
    ready: float
    rate: float = 0.0

    @property
    def ends(self) -> tuple[int, int]:
        """The links it takes: one for each direction of each node, 0 and 1 for the mirror."""
        return 2 * self.source.node.number if self.source else 0, 2 * self.node.number + 1


class SimulatedSwarm(swarm.Swarm):
    """The real decisions; a request becomes a flow."""

    node: Node

    def _read_neighbour(self, number: int, neighbour: Any, buffer: Any) -> None:
        self.node.ask(number, neighbour)

    def _read_mirror(self, number: int, buffer: Any) -> None:
        self.node.ask(number, None)

    def ended(self, number: int, source: Optional[SimulatedNeighbour], size: int) -> None:
        """Note the end of a request; of one that brought nothing, the size is 0."""
        with self._woken:
            if source is None:
                self.from_mirror += size
                self._watch.pace.mirror_received(number, size)
                self._mirror_requests -= 1
                self._file.release(number)
            else:
                source.reading -= 1
                self.from_neighbours += size
            self._end(number, source)


class Node:
    """A node with its swarm and its server."""

    def __init__(self, number: int, pieces: PieceList, fleet: Fleet) -> None:
        self.number, self.fleet = number, fleet
        self.file = SimulatedFile(pieces, f"{random.getrandbits(64):016x}")
        self.begins = CLOCK.now + random.random() * BEGIN
        self.next_round = self.begins
        self.rounds = 0
        self.requests = self.serving = 0
        self.front = 0.0
        self.done_at = self.hashed_at = 0.0

    def meet(self, nodes: list[Node]) -> None:
        others = [SimulatedNeighbour(node) for node in nodes if node is not self]
        self.watch = SimulatedWatch(others, self.file.pieces, self.file.importer)
        transfer: Any = SimpleNamespace(digest="", size=self.file.pieces.size)
        file: Any = self.file
        self.swarm = SimulatedSwarm(
            transfer, file, self.watch, concurrency=CONCURRENCY, bandwidth=Bandwidth(None, CLOCK.monotonic)
        )
        self.swarm.node = self
        self.all = others

    def turn(self) -> None:
        """Look at the neighbours if it is time, and begin requests."""
        if CLOCK.now >= self.next_round:
            self.watch._round(self.all if self.rounds < 2 else self.watch._due(), 1.0)
            self.rounds += 1
            pause = FIRST_ROUND + neighbourhood.SETTLE if self.rounds == 1 else neighbourhood.ROUND
            self.next_round = CLOCK.now + pause
        while self.rounds > 1 and self.requests < CONCURRENCY and self.file.lacking:
            with self.swarm._woken:
                task = self.swarm._pick()
            if task is None:
                return
            task(memoryview(b""))

    def ask(self, number: int, source: Optional[SimulatedNeighbour]) -> None:
        if source is not None and source.node.serving >= self.fleet.uploads:
            self.fleet.busy += 1
            source.failed(neighbour.NeighbourBusyError())
            self.swarm.ended(number, source, 0)
            return
        start, stop = self.file.pieces.bounds(number)
        self.requests += 1
        if source is not None:
            source.node.serving += 1
        self.fleet.flows.append(Flow(number, source, self, stop - start, CLOCK.now + LATENCY))

    def received(self, flow: Flow) -> None:
        start, stop = self.file.pieces.bounds(flow.number)
        self.requests -= 1
        if flow.source is not None:
            flow.source.node.serving -= 1
        self.file.put(flow.number)
        self.swarm.ended(flow.number, flow.source, stop - start)
        if not self.file.lacking and not self.done_at:
            self.done_at = CLOCK.now

    def hash(self, pieces: float) -> None:
        while pieces > 0 and self.front < len(self.file.present) and self.file.present[int(self.front)]:
            step = min(pieces, int(self.front) + 1 - self.front)
            self.front, pieces = round(self.front + step, 6), pieces - step
        if self.front >= len(self.file.present) and not self.hashed_at:
            self.hashed_at = CLOCK.now


class Fleet:
    """All nodes and their links."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.rate, self.mirror = given.rate * 125_000.0, (given.mirror or given.rate) * 125_000.0
        self.uploads, self.busy = given.uploads, 0
        self.flows: list[Flow] = []
        size = piece_size_of(given.blob)
        pieces = PieceList("sha256:0", given.blob, size, (b"",) * -(-given.blob // size))
        self.nodes = [Node(number, pieces, self) for number in range(1, given.nodes + 1)]
        for node in self.nodes:
            node.meet(self.nodes)
        self.hash_pieces = given.hash * 1024 * 1024 / size
        # Several steps for each piece, also on fast links.
        self.step = min(0.05 if given.nodes <= EXACT else 0.2, size * CONCURRENCY / self.rate / 5)

    def run(self) -> dict[str, Any]:
        start = CLOCK.now
        while not all(node.hashed_at for node in self.nodes):
            CLOCK.now += self.step
            for node in self.nodes:
                if CLOCK.now >= node.begins and not node.done_at:
                    node.turn()
            moving = [flow for flow in self.flows if flow.ready <= CLOCK.now]
            self._share(moving)
            for flow in moving:
                flow.left -= flow.rate * self.step
                if flow.source is not None:
                    flow.node.watch.pace.received(int(flow.rate * self.step))
            self.flows = [flow for flow in self.flows if flow.left > 0]
            for flow in moving:
                if flow.left <= 0:
                    flow.node.received(flow)
            for node in self.nodes:
                if not node.hashed_at:
                    node.hash(self.hash_pieces * self.step)
        blob = self.nodes[0].file.pieces.size
        alone = BEGIN + blob / min(self.rate, self.mirror)
        last = max(node.hashed_at for node in self.nodes) - start
        return {
            "nodes": len(self.nodes),
            "egress": round(sum(node.swarm.from_mirror for node in self.nodes) / blob, 2),
            "received": round(max(node.done_at for node in self.nodes) - start, 1),
            "last": round(last, 1),
            "first": round(min(node.hashed_at for node in self.nodes) - start, 1),
            "alone": round(alone, 1),
            "ratio": round(last / alone, 2),
            "busy": self.busy,
        }

    def _capacity(self, link: int) -> float:
        return self.rate if link else self.mirror

    def _share(self, flows: list[Flow]) -> None:
        users: dict[int, set[Flow]] = defaultdict(set)
        for flow in flows:
            for link in flow.ends:
                users[link].add(flow)
        if len(self.nodes) > EXACT:
            for flow in flows:
                flow.rate = min(self._capacity(link) / len(users[link]) for link in flow.ends)
            return
        left = {link: self._capacity(link) for link in users}
        while users:
            tightest = min(users, key=lambda link: left[link] / len(users[link]))
            share = left[tightest] / len(users[tightest])
            for flow in list(users[tightest]):
                flow.rate = share
                for link in flow.ends:
                    users[link].discard(flow)
                    left[link] -= share
            users = defaultdict(set, {link: some for link, some in users.items() if some})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--rate", type=int, default=40, help="Mbit/s of each link of a node (40)")
    parser.add_argument("--mirror", type=int, help="Mbit/s of the link of the mirror; that of a node by default")
    parser.add_argument("--blob", type=size, default=size("256M"), help="size of the model (256M)")
    parser.add_argument("--uploads", type=int, default=16, help="answers of a node at once (16)")
    parser.add_argument("--hash", type=int, default=500, help="MiB/s of hashing on each node (500)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    random.seed(given.seed)
    threading.excepthook = sys.excepthook
    for module in (swarm, neighbour, neighbourhood):
        module.time = CLOCK  # type: ignore[attr-defined]
    print(json.dumps(Fleet(given).run()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
