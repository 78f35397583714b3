# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure imports from neighbours beside single imports: nodes in network namespaces, the rate of every link shaped.

usage: python tests/bench/neighbour_bench.py [RUN...] [--nodes N] [--rate MBIT] [--blob SIZE] [--place DIR]
RUN is one of: alone, neighbours, killed, liar, singles; all by default, in this order. Needs root.

The mirror is a real VersityGW, on a link of the same rate as that of each node. Every node runs the blob server of the
role ollama_models and the module ollama_s3_import, as processes of their own. Bytes of the mirror are those that its
link has carried, headers and retransmissions included.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parents[1]
sys.path[:0] = [str(BENCH), str(BENCH.parent / "lab"), str(BENCH.parent / "integration" / "mirror")]

import mirror_lab  # noqa: E402
import services  # noqa: E402
import shaped_network  # noqa: E402
from mirror_cases import Stored  # noqa: E402
from sizes import size  # noqa: E402

PORT = 11480
#: How many nodes are killed, when the model has come to so many per cent on the first node.
KILLED = 3
KILLED_AT = 40
RUNS = ("alone", "neighbours", "killed", "liar", "singles")


@dataclass
class Node:
    """A node with its store and its processes."""

    number: int
    store: Path
    prefix: list[str]
    server: Optional[subprocess.Popen[bytes]] = None
    importer: Optional[subprocess.Popen[str]] = None
    result: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class NeighbourBench:
    """One network, one mirror, and runs on them."""

    def __init__(self, network: shaped_network.ShapedNetwork, s3: Any, place: Path, blob: int) -> None:
        self.network = network
        self.blob = blob
        self._place = place
        self._secret = secrets.token_hex(32)
        self._settings = mirror_lab.new_bucket(s3)
        self._endpoint = f"http://{shaped_network.MIRROR}:{s3.port}"
        self._model = Stored(place / "published", "large", [blob])
        self._publish()

    def _publish(self) -> None:
        arguments = mirror_lab.options(self._settings) | {"name": "large", "models_path": self._model.path}
        done = mirror_lab.finish_module(mirror_lab.start_module("ollama_s3_publish", arguments))
        if done.result.get("failed"):
            raise RuntimeError(done.result)

    def run(self, count: int, *, peers: bool, kill: bool = False, liar: bool = False) -> dict[str, Any]:
        """Import on so many nodes at once; return what was measured."""
        nodes = [
            Node(number, self._place / f"node-{number}", self.network.prefix(number)) for number in range(1, count + 1)
        ]
        addresses = [f"{self.network.address(node.number)}:{PORT}" for node in nodes]
        honest = nodes
        try:
            if liar:
                self._damage(nodes[-1])
                honest = nodes[:-1]
            for node in nodes if peers else ():
                self._serve(node)
            time.sleep(1.0 if peers else 0.0)
            before, cpu, start = self.network.sent_by_mirror(), _cpu(), time.monotonic()
            for node in honest:
                self._begin(node, addresses if peers else [])
            threads = [threading.Thread(target=self._finish, args=(node, start)) for node in honest]
            for thread in threads:
                thread.start()
            dead: Sequence[Node] = self._kill(honest) if kill else ()
            for thread in threads:
                thread.join()
            sent = self.network.sent_by_mirror() - before
            for node in nodes:
                _end(node.server)
            cpu = _cpu() - cpu
        finally:
            for node in nodes:
                _end(node.server)
                _end(node.importer)
        alive = [node for node in honest if node not in dead]
        wrong = [node.number for node in alive if node.result.get("failed") or not self._is_sound(node)]
        found = {
            "nodes": count,
            "egress": round(sent / self.blob, 2),
            "last": round(max(node.seconds for node in alive), 1),
            "first": round(min(node.seconds for node in alive), 1),
            "cpu": round(cpu, 1),
            "largest_rss_mib": max(node.result.get("rss", 0) for node in alive),
            "wrong": wrong,
            "liars_named": sorted(
                {peer["peer"] for node in alive for peer in node.result.get("peers", []) if peer["state"] == "lied"}
            ),
            "warned": sum(bool(node.result.get("warnings")) for node in alive),
        }
        if wrong:
            found["failures"] = [node.result.get("msg") for node in alive if node.number in wrong][:3]
        for node in nodes:
            shutil.rmtree(node.store, ignore_errors=True)
        return found

    def _serve(self, node: Node) -> None:
        """Start the blob server of a node."""
        node.store.mkdir(exist_ok=True)
        secret, config = node.store.with_suffix(".secret"), node.store.with_suffix(".json")
        secret.write_text(self._secret)
        config.write_text(
            json.dumps(
                {
                    "listen": self.network.address(node.number),
                    "port": PORT,
                    "models_path": str(node.store),
                    "models": ["large"],
                    "secret_file": str(secret),
                    "max_uploads": 16,
                }
            )
        )
        node.server = subprocess.Popen(
            [*node.prefix, sys.executable, "-m", "blob_server", str(config)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "roles/ollama_models/files")},
            stdout=subprocess.DEVNULL,
        )

    def _begin(self, node: Node, peers: list[str]) -> None:
        node.store.mkdir(exist_ok=True)
        arguments = mirror_lab.options(self._settings) | {"name": "large", "models_path": node.store}
        arguments["endpoint_url"] = self._endpoint
        if peers:
            arguments |= {"peers": peers, "peers_secret": self._secret}
        node.importer = mirror_lab.start_module("ollama_s3_import", arguments, *node.prefix)

    def _finish(self, node: Node, start: float) -> None:
        if node.importer is None:
            return
        printed, complaints = node.importer.communicate()
        node.seconds = time.monotonic() - start
        with contextlib.suppress(ValueError):
            node.result = json.loads(printed)
        if not node.result:
            node.result = {"failed": True, "msg": complaints[-500:]}

    def _damage(self, node: Node) -> None:
        """Give a node the whole model, with a bit flipped in each MiB."""
        shutil.copytree(self._model.path, node.store)
        blob = node.store / "blobs" / self._model.weights.replace(":", "-")
        with blob.open("r+b") as file:
            for offset in range(0, self.blob, 1 << 20):
                file.seek(offset)
                byte = file.read(1)
                file.seek(offset)
                file.write(bytes([byte[0] ^ 1]))

    def _kill(self, nodes: Sequence[Node]) -> Sequence[Node]:
        """Kill some nodes in the middle, importer and server."""
        marks = nodes[0].store / ".legionio-ollama" / f"{self._model.weights.replace(':', '-')}.pieces"
        while nodes[0].importer is not None and nodes[0].importer.poll() is None:
            with contextlib.suppress(OSError):
                found = marks.read_bytes()[4096:]
                if found and found.count(b"1") * 100 >= KILLED_AT * len(found):
                    break
            time.sleep(0.2)
        dead = nodes[1 : 1 + KILLED]
        for node in dead:
            _end(node.importer)
            _end(node.server)
        return dead

    def _is_sound(self, node: Node) -> bool:
        blob = node.store / "blobs" / self._model.weights.replace(":", "-")
        done = subprocess.run(["sha256sum", str(blob)], check=False, capture_output=True, text=True)
        return done.stdout[:64] == self._model.weights.partition(":")[2]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end(process: Optional[subprocess.Popen[Any]]) -> None:
    if process is not None and process.poll() is None:
        process.kill()
    if process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help=f"of: {', '.join(RUNS)}; all by default")
    parser.add_argument("--nodes", type=int, default=20, help="nodes that import at once (20)")
    parser.add_argument("--rate", type=int, default=80, help="Mbit/s of each link, the mirror's too (80)")
    parser.add_argument("--blob", type=size, default=size("1G"), help="size of the model (1G)")
    parser.add_argument("--place", type=Path, help="directory for the stores; with 20 nodes, 21 times the blob")
    given = parser.parse_args()
    if not shaped_network.possible():
        parser.error("only root can make networks")
    chosen = given.runs or list(RUNS)
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(services.scratch("neighbours"))
        place = given.place or scratch
        s3 = services.S3Server(scratch, "us-east-1")
        s3.listen_everywhere()
        network = stack.enter_context(shaped_network.shaped_network("lxn", given.nodes, given.rate))
        s3.start()
        stack.callback(s3.kill)
        bench = NeighbourBench(network, s3, place, given.blob)
        print(json.dumps({"blob": given.blob, "mbit": given.rate, "cores": os.cpu_count()}), flush=True)
        for name in chosen:
            found = bench.run(
                1 if name == "alone" else given.nodes,
                peers=name not in ("alone", "singles"),
                kill=name == "killed",
                liar=name == "liar",
            )
            print(name, json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
