# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of three RabbitMQ nodes, each in a container of its own, to be stopped, killed, paused and cut off."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

from services import container, podman

#: How many nodes: the fewest that can do without one.
SIZE = 3

#: Seconds for a node to come up, or to answer a command.
PATIENCE = 120.0

_COOKIE = "LEGIONIOLABCOOKIE"


class Node:
    """One node. Its name is that of its host, which the other nodes know by its address."""

    port = 5672

    def __init__(self, container_name: str, host_name: str) -> None:
        self.container = container_name
        self.host_name = host_name
        self.name = f"rabbit@{host_name}"
        self.host = _podman("inspect", "-f", "{{.NetworkSettings.IPAddress}}", container_name).strip()
        self._pid = _podman("inspect", "-f", "{{.State.Pid}}", container_name).strip()

    def run(self, script: str) -> str:
        """Run a shell script in the container as root."""
        return _podman("exec", self.container, "sh", "-c", script)

    def ctl(self, *arguments: str, timeout: float = PATIENCE) -> str:
        """Run rabbitmqctl and return what it printed."""
        command = ("timeout", str(timeout), "rabbitmqctl", "-q", "-n", self.name, *arguments)
        return _podman("exec", "-u", "rabbitmq", "-e", "HOME=/var/lib/rabbitmq", self.container, *command)

    def start(self) -> None:
        """Start the node, and wait until it greets a client."""
        environment = ("-e", f"RABBITMQ_NODENAME={self.name}", "-e", "HOME=/var/lib/rabbitmq")
        server = "exec rabbitmq-server > /var/log/rabbitmq/console.log 2>&1"
        _podman("exec", "-d", "-u", "rabbitmq", *environment, self.container, "sh", "-c", server)
        self.wait_up()

    def wait_up(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.greets():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not come up within {PATIENCE:.0f} s")
            time.sleep(0.2)

    def greets(self) -> bool:
        """Whether a client is greeted."""
        try:
            with socket.create_connection((self.host, self.port), timeout=2) as sock:
                sock.sendall(b"AMQP\x00\x00\x09\x01")  # protocol header of AMQP 0-9-1, section 4.2.2
                return sock.recv(1) == b"\x01"
        except OSError:
            return False

    # Faults

    def stop(self) -> None:
        """Shut the node down in order."""
        self.ctl("stop")

    def kill(self) -> None:
        """End the node without warning."""
        self.run("pkill -9 -x beam.smp || true")

    def pause(self) -> None:
        """Stop the process (SIGSTOP): its connections stay open, and nothing comes from it."""
        self.run("pkill -STOP -x beam.smp")

    def go_on(self) -> None:
        self.run("pkill -CONT -x beam.smp")

    def cut_off(self, others: Sequence[Node]) -> None:
        """Lose every packet between this node and others; clients still reach all of them."""
        self._route("add", others)

    def heal(self, others: Sequence[Node]) -> None:
        self._route("del", others)

    def _route(self, what: str, others: Sequence[Node]) -> None:
        for other in others:
            command = ["nsenter", "-t", self._pid, "-n", "ip", "route", what, "blackhole", f"{other.host}/32"]
            subprocess.run(command if os.geteuid() == 0 else ["sudo", "-n", *command], check=True)


class Cluster:
    """The nodes. To whoever publishes, it looks like a broker whose address is that of a node that is there.

    :ivar nodes: in the order in which they joined.
    """

    port = Node.port
    username = "lab"
    password = "lab-password"

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = list(nodes)

    @property
    def host(self) -> str:
        """The address of a node that greets its clients."""
        for node in itertools.cycle(self.nodes):
            if node.greets():
                return node.host
            time.sleep(0.1)
        raise AssertionError("a cycle does not end")

    @property
    def amqp_url(self) -> str:
        return f"amqp://{self.username}:{self.password}@{self.host}:{self.port}/%2F?heartbeat=10&socket_timeout=3"

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl on the first node."""
        return self.nodes[0].ctl(*arguments)

    def leader_of(self, queue: str) -> Node:
        """Return the node that has the leader of a quorum queue."""
        for node in self.nodes:
            if not node.greets():
                continue
            for line in node.ctl("list_queues", "name", "leader", "--no-table-headers").splitlines():
                name, _tab, leader = line.partition("\t")
                if name == queue:
                    return next(one for one in self.nodes if one.name == leader.strip())
        raise RuntimeError(f"nobody knows the leader of {queue}")

    def others(self, node: Node) -> list[Node]:
        return [other for other in self.nodes if other is not node]


def _podman(*arguments: str) -> str:
    done = subprocess.run([*podman(), *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"podman {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextlib.contextmanager
def cluster(series: str = "4") -> Iterator[Cluster]:
    """A cluster of a series: "4" is Debian 13's RabbitMQ 4.0, "3" is Debian 12's 3.10."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for number in range(SIZE):
            host_name = f"mq{number}-{os.getpid()}"
            name = stack.enter_context(container("cluster", f"rabbitmq{series}", "--hostname", host_name))
            nodes.append(Node(name, host_name))
        for node in nodes:
            known = "".join(f"{other.host} {other.host_name}\\n" for other in nodes if other is not node)
            node.run(f"printf '{known}' >> /etc/hosts")
            node.run(
                f"printf {_COOKIE} > /var/lib/rabbitmq/.erlang.cookie; chmod 400 /var/lib/rabbitmq/.erlang.cookie;"
                " chown rabbitmq: /var/lib/rabbitmq/.erlang.cookie"
            )
            node.run(
                f"printf 'default_user = {Cluster.username}\\ndefault_pass = {Cluster.password}\\n"
                "loopback_users = none\\n' > /etc/rabbitmq/rabbitmq.conf"
            )
            node.start()
        for node in nodes[1:]:
            node.ctl("stop_app")
            node.ctl("join_cluster", nodes[0].name)
            node.ctl("start_app")
            node.wait_up()
        yield Cluster(nodes)
