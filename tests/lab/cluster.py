# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of three RabbitMQ nodes, each on a host of its own, to be stopped, killed, paused and cut off.

The hosts are containers: bare ones, in which a node is a process (:class:`Node`), or those of Molecule, where systemd
runs RabbitMQ (:class:`HostedNode`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

import yaml
from services import container, podman

#: How many nodes: the fewest that can do without one.
SIZE = 3

#: The variables of the role that makes clusters.
_ROLE = Path(__file__).resolve().parents[2] / "roles" / "fleet_broker" / "vars" / "main.yml"

#: Seconds for a node to come up, or to answer a command.
PATIENCE = 120.0

#: A user of a cluster of bare containers, who may do everything.
USERNAME = "lab"
PASSWORD = "lab-password"

_COOKIE = "LEGIONIOLABCOOKIE"

#: Erlang: each quorum queue with the node that leads it. `rabbitmqctl list_queues` would ask paused nodes, too.
_LEADERS = """
[{element(4, amqqueue:get_name(Q)), element(2, amqqueue:get_pid(Q))}
 || Q <- rabbit_amqqueue:list(), amqqueue:get_type(Q) =:= rabbit_quorum_queue].
"""

#: Erlang: have a node lead some queues.
_TRANSFER = """
[begin {ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, Name)),
       rabbit_quorum_queue:transfer_leadership(Q, '%s') end || Name <- [%s]].
"""

#: Erlang: how many nodes of the cluster run RabbitMQ.
_RUNNING = "length([N || N <- [node() | nodes()], rpc:call(N, rabbit, is_running, [], 5000) =:= true])."

#: Erlang: evaluates each line of its input, the name of a node and expressions, on that node, and prints the value.
_CONSOLE = """
F = fun F() ->
    case io:get_line("") of
        eof -> halt();
        Line ->
            [Node, Text] = string:split(string:trim(Line), " "),
            {ok, Tokens, _} = erl_scan:string(Text),
            {ok, Expressions} = erl_parse:parse_exprs(Tokens),
            Value = case rpc:call(list_to_atom(Node), erl_eval, exprs, [Expressions, []], 15000) of
                {value, Found, _} -> Found;
                Other -> Other
            end,
            io:format("~0tp~n", [Value]),
            F()
    end
end,
F().
"""


class Console:
    """An Erlang node on a host of its own that asks the nodes: rabbitmqctl needs seconds of processor time to start.

    :param container_name: of the host, which knows the names of the others.
    """

    def __init__(self, container_name: str) -> None:
        erl = ("erl", "-noshell", "-hidden", "-sname", "console", "-eval", _CONSOLE)
        self._erl = subprocess.Popen(
            [*podman(), "exec", "-i", "-u", "rabbitmq", "-e", "HOME=/var/lib/rabbitmq", container_name, *erl],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def evaluate(self, node: str, expressions: str) -> str:
        """Return the value of Erlang expressions on a node; of a node that is not there, ``{badrpc, ...}``."""
        if self._erl.stdin is None or self._erl.stdout is None:
            raise RuntimeError("the console has no pipes")
        self._erl.stdin.write(f"{node} {' '.join(expressions.split())}\n")
        self._erl.stdin.flush()
        return self._erl.stdout.readline()

    def close(self) -> None:
        self._erl.communicate()


class Node:
    """One node. Its name is that of its host, which the other nodes know by its address."""

    port = 5672

    def __init__(self, container_name: str, host_name: str, host: str = "") -> None:
        self.container = container_name
        self.host_name = host_name
        self.name = f"rabbit@{host_name}"
        self.console: Optional[Console] = None
        self.host = host or run_podman("inspect", "-f", "{{.NetworkSettings.IPAddress}}", container_name).strip()
        self._pid = run_podman("inspect", "-f", "{{.State.Pid}}", container_name).strip()

    def run(self, script: str) -> str:
        """Run a shell script in the container as root."""
        return run_podman("exec", self.container, "sh", "-c", script)

    def ctl(self, *arguments: str, timeout: float = PATIENCE) -> str:
        """Run rabbitmqctl and return what it printed."""
        command = ("timeout", str(timeout), "rabbitmqctl", "-q", "-n", self.name, *arguments)
        return run_podman("exec", "-u", "rabbitmq", "-e", "HOME=/var/lib/rabbitmq", self.container, *command)

    def evaluate(self, expressions: str) -> str:
        """Return the value of Erlang expressions on the node."""
        if self.console is not None:
            return self.console.evaluate(self.name, expressions)
        return self.ctl("eval", expressions)

    def begin(self) -> None:
        """Start the node."""
        environment = ("-e", f"RABBITMQ_NODENAME={self.name}", "-e", "HOME=/var/lib/rabbitmq")
        server = "exec rabbitmq-server > /var/log/rabbitmq/console.log 2>&1"
        run_podman("exec", "-d", "-u", "rabbitmq", *environment, self.container, "sh", "-c", server)

    def start(self) -> None:
        """Start the node, and wait until it greets a client."""
        self.begin()
        self.wait_up()

    def wait_up(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.greets():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not come up within {PATIENCE:.0f} s")
            time.sleep(0.2)

    def greets(self) -> bool:
        """Whether the node greets a client."""
        try:
            with socket.create_connection((self.host, self.port), timeout=2) as sock:
                sock.sendall(b"AMQP\x00\x00\x09\x01")  # protocol header of AMQP 0-9-1, section 4.2.2
                return sock.recv(1) == b"\x01"
        except OSError:
            return False

    # Faults

    def stop(self) -> None:
        """Shut down the node."""
        self.ctl("stop")

    def kill(self) -> None:
        """End the node without warning."""
        self.run("pkill -9 -x beam.smp || true")

    def pause(self) -> None:
        """Stop the process (SIGSTOP): its connections stay open, but silent."""
        self.run("pkill -STOP -x beam.smp")

    def go_on(self) -> None:
        self.run("pkill -CONT -x beam.smp")

    def cut_off(self, others: Sequence[Node]) -> None:
        """Drop every packet between this node and other nodes; clients still reach all nodes."""
        self._route("add", others)

    def heal(self, others: Sequence[Node]) -> None:
        self._route("del", others)

    def reaches(self, other: Node) -> bool:
        """Whether a packet of this node comes to another."""
        script = f"timeout 2 bash -c 'exec 3<> /dev/tcp/{other.host}/4369' 2> /dev/null && echo yes || echo no"
        return self.run(script).strip() == "yes"

    def _route(self, what: str, others: Sequence[Node]) -> None:
        for other in others:
            command = ["nsenter", "-t", self._pid, "-n", "ip", "route", what, "blackhole", f"{other.host}/32"]
            subprocess.run(command if os.geteuid() == 0 else ["sudo", "-n", *command], check=True)


class HostedNode(Node):
    """A node that systemd runs on a host of Molecule, which whoever made the host takes away."""

    def ctl(self, *arguments: str, timeout: float = PATIENCE) -> str:
        return run_podman("exec", self.container, "timeout", str(timeout), "rabbitmqctl", "-q", *arguments)

    def begin(self) -> None:
        self.run("systemctl reset-failed rabbitmq-server; systemctl start --no-block rabbitmq-server")

    def stop(self) -> None:
        self.run("systemctl stop rabbitmq-server")

    def kill(self) -> None:
        """End the node without warning. Systemd starts it again where its unit says so."""
        self.run("systemctl kill -s KILL rabbitmq-server")

    def pause(self) -> None:
        """Freeze the host with all that runs there."""
        run_podman("pause", self.container)

    def go_on(self) -> None:
        run_podman("unpause", self.container)

    def unplug(self) -> None:
        """Take the host's network away."""
        run_podman("network", "disconnect", "-f", self._network, self.container)

    def plug(self) -> None:
        """Give the host its network back, with its address."""
        run_podman("network", "connect", "--ip", self.host, self._network, self.container)

    @property
    def _network(self) -> str:
        return f"legionio-{self.container.split('-')[1]}"


class Cluster:
    """The nodes. To a publisher it looks like a broker with the address of a running node.

    :ivar nodes: in the order in which they joined.
    """

    port = Node.port

    def __init__(self, nodes: Sequence[Node], username: str = USERNAME, password: str = PASSWORD) -> None:
        self.nodes = list(nodes)
        self.username = username
        self.password = password

    @property
    def host(self) -> str:
        """The address of a node that greets its clients."""
        return self.up().host

    @property
    def amqp_url(self) -> str:
        return f"amqp://{self.username}:{self.password}@{self.host}:{self.port}/%2F?heartbeat=10&socket_timeout=3"

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl on the first node."""
        return self.nodes[0].ctl(*arguments)

    def leaders(self) -> dict[str, Node]:
        """Return the node that leads each quorum queue, as a node that is up knows it."""
        told = self.up().evaluate(_LEADERS)
        names = {node.name: node for node in self.nodes}
        found = re.findall(r"""<<"([^"]+)">>,\s*'?([^'}\s]+)'?\s*}""", told)
        return {queue: names[leader] for queue, leader in found if leader in names}

    def consumers(self) -> Counter[str]:
        """Return how many consumers each queue has, as the broker tells it."""
        told = self.up().ctl("list_consumers", "--no-table-headers", "queue_name")
        return Counter(line.strip() for line in told.splitlines() if line.strip())

    def leader_of(self, queue: str) -> Node:
        """Return the node that leads a quorum queue."""
        return self.leaders()[queue]

    def lead(self, queues: Sequence[str], node: Node) -> None:
        """Have a node lead queues whose members are all up.

        :raises RuntimeError: when it does not lead all of them soon.
        """
        deadline = time.monotonic() + PATIENCE
        names = ",".join(f'<<"{queue}">>' for queue in queues)
        while True:
            leaders = self.leaders()
            if all(leaders.get(queue) is node for queue in queues):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{node.name} does not lead {', '.join(queues)}")
            self.up().evaluate(_TRANSFER % (node.name, names))
            time.sleep(0.5)

    def up(self) -> Node:
        """Return a node that greets its clients."""
        for node in itertools.cycle(self.nodes):
            if node.greets():
                return node
            time.sleep(0.1)
        raise AssertionError("a cycle does not end")

    def wait_whole(self) -> None:
        """Wait until every node is up and knows all others.

        :raises RuntimeError: when that does not come.
        """
        deadline = time.monotonic() + PATIENCE
        for node in self.nodes:
            node.wait_up()
            while node.evaluate(_RUNNING).strip() != str(len(self.nodes)):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{node.name} does not find the others")
                time.sleep(0.5)

    def others(self, node: Node) -> list[Node]:
        return [other for other in self.nodes if other is not node]


def run_podman(*arguments: str, timeout: Optional[float] = None) -> str:
    """Run podman and return what it printed.

    :param timeout: seconds; None waits for as long as it takes.
    :raises RuntimeError: when it fails, or takes longer.
    """
    command = [*podman(), *arguments]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"podman {' '.join(arguments)} took longer than {timeout} s") from None
    if done.returncode != 0:
        raise RuntimeError(f"podman {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextlib.contextmanager
def cluster(series: str = "4", *, as_the_role: bool = True) -> Iterator[Cluster]:
    """A cluster of a series: "4" is Debian 13's RabbitMQ 4.0, "3" is Debian 12's 3.10.

    :param as_the_role: with the settings of the role ``fleet_broker``, and not with RabbitMQ's own.
    """
    chosen = yaml.safe_load(_ROLE.read_text())["__fleet_broker_cluster_config"] if as_the_role else {}
    settings = "".join(f"{name} = {value}\\n" for name, value in chosen.items())
    with contextlib.ExitStack() as stack:
        nodes = []
        for number in range(SIZE):
            host_name = f"mq{number}-{os.getpid()}"
            name = stack.enter_context(container("cluster", f"rabbitmq{series}", "--hostname", host_name))
            nodes.append(Node(name, host_name))
        known = "".join(f"{node.host} {node.host_name}\\n" for node in nodes)
        introduce = (
            f"printf '{known}' >> /etc/hosts;"
            f"printf {_COOKIE} > /var/lib/rabbitmq/.erlang.cookie; chmod 400 /var/lib/rabbitmq/.erlang.cookie;"
            " chown rabbitmq: /var/lib/rabbitmq/.erlang.cookie"
        )
        for node in nodes:
            configuration = (
                f"default_user = {USERNAME}\\ndefault_pass = {PASSWORD}\\nloopback_users = none\\n"
                "cluster_formation.peer_discovery_backend = classic_config\\n"
                f"cluster_formation.classic_config.nodes.1 = {nodes[0].name}\\n{settings}"
            )
            node.run(f"{introduce}; printf '{configuration}' > /etc/rabbitmq/rabbitmq.conf")
        host = stack.enter_context(container("cluster", f"rabbitmq{series}", "--hostname", f"console-{os.getpid()}"))
        run_podman("exec", host, "sh", "-c", introduce)
        console = Console(host)
        stack.callback(console.close)
        for node in nodes:
            node.console = console
        # The others join the first, which has to be there for it.
        nodes[0].start()
        for node in nodes[1:]:
            node.begin()
        for node in nodes[1:]:
            node.wait_up()
        running = Cluster(nodes)
        running.wait_whole()
        yield running
