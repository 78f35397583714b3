# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drills of a cluster over the hosts of Molecule's scenario ``cluster``, from the machine that runs them.

Each host has a node of the broker and a worker, and systemd runs both. Podman causes the faults of a host.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from cluster import Cluster, HostedNode, run_podman
from cluster_drill import Drill
from cluster_faults import hosted_faults

STATUS = "/opt/legionio/fleet-worker/current/bin/fleet-worker status --json"


class HostedWorker:
    """A worker that systemd runs on a host."""

    def __init__(self, node: HostedNode) -> None:
        self.name = node.host_name
        self._node = node

    def status(self) -> dict[str, Any]:
        try:
            told = run_podman("exec", self._node.container, "sh", "-c", f"timeout 5 {STATUS} || true", timeout=8)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        state: dict[str, Any] = json.loads(told)
        return state

    def kill(self) -> None:
        self._node.run("systemctl kill -s KILL fleet-worker")

    def start(self) -> None:
        """Nothing: systemd has done so."""

    def pause(self) -> None:
        self._node.run("systemctl kill -s STOP fleet-worker")

    def go_on(self) -> None:
        self._node.run("systemctl kill -s CONT fleet-worker")

    def is_stopped(self) -> bool:
        found = self._node.run(
            "ps -o stat= -p $(systemctl show -P MainPID fleet-worker) 2> /dev/null || echo ended"
        ).strip()
        return found == "ended" or found.startswith("T")


def main() -> int:
    parser = argparse.ArgumentParser(prog="drill_hosts.py", description=__doc__)
    parser.add_argument("hosts", nargs="+", metavar="ADDRESS=NAME")
    parser.add_argument("--user", required=True, help="of the requesters; the password is in DRILL_PASSWORD")
    parser.add_argument("--heartbeat", type=int, required=True, help="seconds, of the workers")
    parser.add_argument("--rounds", type=int, default=1, help="how often each fault is made")
    options = parser.parse_args()
    pairs = [pair.split("=") for pair in options.hosts]
    nodes = [HostedNode(f"legionio-cluster-{name}", name, address) for address, name in pairs]
    cluster = Cluster(nodes, options.user, os.environ["DRILL_PASSWORD"])
    workers = [HostedWorker(node) for node in nodes]
    lanes = sorted(queue for queue in cluster.leaders() if queue.startswith("llm.request."))
    drill = Drill(cluster, workers, lanes, options.heartbeat)
    for _round in range(options.rounds):
        for fault in hosted_faults(options.heartbeat):
            drill.run(fault)
    print(drill.summary())
    return 1 if any(report.problems for report in drill.reports) else 0


if __name__ == "__main__":
    sys.exit(main())
