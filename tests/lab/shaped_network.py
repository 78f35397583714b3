# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network of nodes on this machine: one network namespace for each, on a bridge, with the rate of every link shaped.

Only root can make one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import undo

#: Addresses of the nodes begin with it; the mirror, in the network of the machine itself, has the last one.
SUBNET = "10.78.0"
MIRROR = f"{SUBNET}.254"

_UNDO = undo.UndoList()


class ShapedNetwork:
    """Nodes 1 to N, and the machine itself as the mirror.

    :param name: begins the names of all devices and namespaces; at most 6 letters.
    :param nodes: how many; at most 250.
    :param rate: Mbit/s of each link, in both directions.
    """

    def __init__(self, name: str, nodes: int, rate: int) -> None:
        self.nodes = nodes
        self._name = name
        self._rate = rate

    def address(self, node: int) -> str:
        return f"{SUBNET}.{node}"

    def prefix(self, node: int) -> list[str]:
        """Return what makes a command run on a node."""
        return ["ip", "netns", "exec", f"{self._name}{node}"]

    def sent_by_mirror(self) -> int:
        """Return how many bytes the mirror's link has carried away."""
        return int(Path(f"/sys/class/net/{self._name}m/statistics/tx_bytes").read_text())

    def make(self) -> None:
        name = self._name
        _run("link", "add", f"{name}br", "type", "bridge")
        _run("link", "set", f"{name}br", "up")
        _run("link", "add", f"{name}m", "type", "veth", "peer", "name", f"{name}mb")
        _run("link", "set", f"{name}mb", "master", f"{name}br", "up")
        _run("addr", "add", f"{MIRROR}/24", "dev", f"{name}m")
        _run("link", "set", f"{name}m", "up")
        self._shape([], f"{name}m")
        self._shape([], f"{name}mb")
        for node in range(1, self.nodes + 1):
            space, link = f"{name}{node}", f"{name}v{node}"
            _run("netns", "add", space)
            _run("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            _run("link", "set", link, "master", f"{name}br", "up")
            _run("-n", space, "addr", "add", f"{self.address(node)}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _run("-n", space, "link", "set", device, "up")
            self._shape(["-n", space], "eth0")
            self._shape([], link)

    def remove(self) -> None:
        for node in range(1, self.nodes + 1):
            _run("netns", "del", f"{self._name}{node}", check=False)
        for device in (f"{self._name}m", f"{self._name}br"):
            _run("link", "del", device, check=False)

    def _shape(self, space: list[str], device: str) -> None:
        limit = ("root", "tbf", "rate", f"{self._rate}mbit", "burst", "256k", "latency", "50ms")
        subprocess.run(["tc", *space, "qdisc", "add", "dev", device, *limit], check=True)


@contextlib.contextmanager
def shaped_network(name: str, nodes: int, rate: int) -> Iterator[ShapedNetwork]:
    """A network that exists until the block ends, and not longer than this process."""
    network = ShapedNetwork(name, nodes, rate)
    clean = "; ".join(
        [f"ip netns del {name}{node}" for node in range(1, nodes + 1)]
        + [f"ip link del {name}m", f"ip link del {name}br"]
    )
    entry = _UNDO.add("sh", "-c", clean)
    try:
        network.make()
        yield network
    finally:
        network.remove()
        _UNDO.drop(entry)


def possible() -> bool:
    """Return whether this process may make networks."""
    if os.geteuid() != 0:
        return False
    probe = subprocess.run(["ip", "netns", "add", "lxprobe"], check=False, capture_output=True)
    if probe.returncode == 0:
        subprocess.run(["ip", "netns", "del", "lxprobe"], check=False)
    return probe.returncode == 0


def _run(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=not check)
