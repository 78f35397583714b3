# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load one real broker with the connections of a whole fleet, and print what that costs the broker.

usage: python tests/bench/simulate_fleet.py [--nodes N] [--lanes N] [--models N] [--seconds S] [--processes N]

The broker is a fresh RabbitMQ 4.0 of the lab on this machine, which is gone afterwards; no other address is used.
Each simulated node has what a worker has: a connection with heartbeats, a channel to consume, those to get, one to
answer with confirm and one for registry events with confirm, a consumer with prefetch 1 for each of its lanes, and the
registry events of each lane, made by the worker's own code, at its interval and spread as it spreads them. It answers
a request at once, with confirm and mandatory, and acknowledges last. What it has not is Ollama and a machine of its
own: broker and nodes compete for this one, so what is printed is a bound from above for the broker, and the latency is
that of a node which answers without work.

Models are spread over the nodes: node i serves --lanes of them, beginning with model i. Everything ends by itself after
--seconds, and the nodes' processes end with this one, however it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

BENCH = Path(__file__).resolve().parent
sys.path[:0] = [
    str(BENCH),
    str(BENCH.parent / "lab"),
    str(BENCH.parent / "integration" / "fleet"),
    str(BENCH.parents[1] / "roles/fleet_worker/files"),
]

import pika  # noqa: E402
import services  # noqa: E402
from crowd import Answer, Ask, Crowd, Target  # noqa: E402
from fleet_parts import channel_to, set_up_broker  # noqa: E402
from fleet_worker._fleet.lanes import Lane, lane  # noqa: E402
from fleet_worker._fleet.pika_messages import to_pika  # noqa: E402
from fleet_worker._fleet.registry import AVAILABLE, EXCHANGE, HEARTBEAT, Offering  # noqa: E402
from fleet_worker.amqp.consumers import GETTERS  # noqa: E402
from pika.adapters.select_connection import IOLoop  # noqa: E402

#: Connections of one process that are being opened at the same time: a fleet that starts together does not do it in
#: one moment either, and the broker's backlog of unaccepted connections is 128.
_OPENING = 16

#: Channels of a worker: to consume, to answer, for registry events, and to get.
_CHANNELS = 3 + GETTERS

#: Seconds for all nodes of a process to be there, at most, and for one of them.
_START = 300.0
_NODE_START = 60.0

#: File descriptors of a process beside its connections.
_FILES = 64

#: The queue that a keeper of the registry reads (wire protocol: durable, bound to all events).
_REGISTRY_QUEUE = "llm.registry.availability"


def lanes_of(node: int, lanes: int, models: int) -> list[Lane]:
    """Return the lanes of a node."""
    return [lane("chat", f"model-{(node + index) % models:03}") for index in range(lanes)]


class Node:
    """A worker's side of the broker, without the work."""

    def __init__(self, part: Part, number: int) -> None:
        self._part = part
        self._name = f"gpu-{number:04}"
        self._lanes = lanes_of(number, part.given.lanes, part.given.models)
        self._left = len(self._lanes)
        self._opened = 0
        self._published = 0
        self._unanswered: dict[int, int] = {}
        parameters = pika.URLParameters(part.given.broker)
        parameters.heartbeat = 30
        parameters.client_properties = {"connection_name": self._name}
        parameters.stack_timeout = parameters.blocked_connection_timeout = _NODE_START
        self.connection = pika.SelectConnection(
            parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=lambda _connection, error: part.lost(f"{self._name}: {error!r}"),
            on_close_callback=lambda _connection, error: part.lost(f"{self._name}: {error!r}"),
            custom_ioloop=part.loop,
        )

    def _on_open(self, connection: Any) -> None:
        self._consuming, self._answering, self._registry, *_getting = (
            connection.channel(on_open_callback=self._on_channel) for _channel in range(_CHANNELS)
        )

    def _on_channel(self, _channel: Any) -> None:
        self._opened += 1
        if self._opened < _CHANNELS:
            return
        self._answering.confirm_delivery(self._on_confirmed)
        self._registry.confirm_delivery(self._on_told)
        self._consuming.basic_qos(prefetch_count=1)
        for one in self._lanes:
            self._consuming.basic_consume(one.queue, self._on_request, callback=self._on_consuming)

    def _on_consuming(self, _frame: Any) -> None:
        self._left -= 1
        if not self._left:
            self._tell(AVAILABLE)
            # The worker's own rule: the first beat at a moment of its own, so that a fleet does not beat in step.
            self._part.loop.call_later(random.uniform(0.5, 1.0) * self._part.given.interval, self._beat)
            self._part.node_ready()

    def _on_request(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._published += 1
        self._unanswered[self._published] = method.delivery_tag
        answer = pika.BasicProperties(
            content_type="application/json", type="llm.fleet.response", correlation_id=properties.correlation_id
        )
        self._answering.basic_publish("", properties.reply_to, body, answer, mandatory=True)

    def _on_confirmed(self, frame: Any) -> None:
        last = frame.method.delivery_tag
        tags = [tag for tag in self._unanswered if tag == last or (frame.method.multiple and tag <= last)]
        for tag in tags:
            self._consuming.basic_ack(self._unanswered.pop(tag))
        self._part.answered += len(tags)

    def _on_told(self, frame: Any) -> None:
        if isinstance(frame.method, pika.spec.Basic.Nack):
            self._part.lost(f"{self._name}: a registry event was refused")

    def _beat(self) -> None:
        if self.connection.is_open:
            self._tell(HEARTBEAT)
            self._part.loop.call_later(self._part.given.interval, self._beat)

    def _tell(self, event: str) -> None:
        for one in self._lanes:
            told = Offering(one, self._name, 1).event(event)
            self._part.told += 1
            self._registry.basic_publish(EXCHANGE, told.routing_key, told.message.body, to_pika(told.message))


class Part:
    """The nodes of one process, all on one thread and one loop; a second thread only waits for the end.

    :param given: ``broker``, ``first``, ``last``, ``lanes``, ``models``, ``interval`` and ``limit`` (seconds).
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.loop = IOLoop()
        self.answered = self.told = self._ready = 0
        self._failure: Optional[str] = None
        self._ending = False
        self._nodes: list[Node] = []
        self._left = list(range(given.first, given.last))

    def run(self) -> int:
        """Simulate these nodes until standard input ends; print their counts, as JSON."""
        threading.Thread(target=self._wait_for_parent, daemon=True).start()
        self.loop.call_later(self.given.limit, self.loop.stop)
        self.loop.call_later(_START, lambda: None if self._all_ready() else self.lost("not all were there in time"))
        for _opening in range(_OPENING):
            self._open_next()
        self.loop.start()
        self._ending = True
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(
            json.dumps(
                {
                    "ready": self._ready,
                    "answered": self.answered,
                    "told": self.told,
                    "failure": self._failure,
                    "cpu": used.ru_utime + used.ru_stime,
                    "peak": used.ru_maxrss * 1024,
                }
            ),
            flush=True,
        )
        return 1 if self._failure else 0

    def node_ready(self) -> None:
        self._ready += 1
        if self._all_ready():
            print("ready", flush=True)
        self._open_next()

    def lost(self, why: str) -> None:
        """A node is gone, which a healthy broker gives no reason for: the simulation is over."""
        if not self._ending and self._failure is None:
            self._failure = why
            self.loop.stop()

    def _all_ready(self) -> bool:
        return self._ready == self.given.last - self.given.first

    def _open_next(self) -> None:
        if self._left:
            self._nodes.append(Node(self, self._left.pop(0)))

    def _wait_for_parent(self) -> None:
        while os.read(0, 1024):
            pass
        self.loop.add_callback_threadsafe(self.loop.stop)


class Parts:
    """All processes of nodes."""

    def __init__(self, given: argparse.Namespace, url: str, stack: contextlib.ExitStack) -> None:
        self.given = given
        bounds = [given.nodes * index // given.processes for index in range(given.processes + 1)]
        self.processes = [
            stack.enter_context(self._part(url, first, last)) for first, last in zip(bounds, bounds[1:]) if first < last
        ]

    @contextlib.contextmanager
    def _part(self, url: str, first: int, last: int) -> Iterator[subprocess.Popen[str]]:
        limit = 2 * _START + 3 * self.given.seconds
        options = {**vars(self.given), "broker": url, "first": first, "last": last, "limit": limit}
        command = [sys.executable, __file__, "--part", json.dumps(options)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def wait_ready(self) -> None:
        for process in self.processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if line.strip() != "ready":
                raise RuntimeError(f"nodes did not come up: {line.strip() or 'their process ended'}")

    def end(self) -> list[dict[str, Any]]:
        """End the nodes; return what each process says of them."""
        told = []
        for process in self.processes:
            printed, _nothing = process.communicate("", timeout=60)
            told.append(json.loads(printed.splitlines()[-1]))
        return told


class Watched:
    """What the broker says of itself."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker

    def resident(self) -> int:
        """Bytes."""
        return int(json.loads(self._broker.ctl("-q", "status", "--formatter", "json"))["memory"]["total"]["rss"])

    def totals(self) -> dict[str, int]:
        status = json.loads(self._broker.ctl("-q", "status", "--formatter", "json"))
        found: dict[str, int] = status["totals"]
        return found

    def cpu(self) -> float:
        """Seconds of processor time that the virtual machine has used."""
        total = self._broker.ctl("-q", "eval", "element(1, erlang:statistics(runtime)).")
        return int(total.strip()) / 1000

    def count(self, what: str, column: str) -> int:
        return len(json.loads(self._broker.ctl("-q", f"list_{what}", column, "--formatter", "json")))


def simulate(given: argparse.Namespace) -> None:
    allow_files(given.nodes + _FILES)
    with services.rabbitmq() as broker, contextlib.ExitStack() as stack:
        set_up_broker(broker)
        watched = Watched(broker)
        models = [lane("chat", f"model-{index:03}") for index in range(given.models)]
        with channel_to(broker) as channel:
            for one in models:
                channel.queue_declare(one.queue, durable=True, arguments=one.arguments)
                channel.queue_bind(one.queue, "llm.request", one.queue)
            channel.queue_declare(_REGISTRY_QUEUE, durable=True)
            channel.queue_bind(_REGISTRY_QUEUE, EXCHANGE, "llm.registry.#")
        empty = watched.resident()
        start, used = time.perf_counter(), watched.cpu()
        parts = Parts(given, broker.amqp_url, stack)
        parts.wait_ready()
        took, used = time.perf_counter() - start, watched.cpu() - used
        print(
            f"{given.nodes} nodes were there after {took:.1f} s; that took {used:.1f} s of the broker's processor time"
        )
        totals = watched.totals()
        print(
            f"connections {totals['connection_count']}, queues {totals['queue_count']},"
            f" channels {watched.count('channels', 'pid')}, consumers {watched.count('consumers', 'channel_pid')}"
        )
        crowd = Crowd(broker.amqp_url)
        stack.callback(crowd.close)
        resting(given, broker, watched, empty)
        target = Target([one.queue for one in models], [one.model for one in models])
        for in_flight in (1, 32):
            loaded(given, crowd, target, watched, in_flight)
        print(f"broker memory in the end: {watched.resident() / 1e6:.0f} MB")
        told = parts.end()
        for one in told:
            if one["failure"]:
                raise RuntimeError(one["failure"])
        print(
            f"nodes: {sum(one['ready'] for one in told)} to the end, {sum(one['answered'] for one in told)} requests"
            f" answered, {sum(one['told'] for one in told)} registry events told; {len(told)} processes used"
            f" {sum(one['cpu'] for one in told):.1f} s of processor time and at most"
            f" {max(one['peak'] for one in told) / 1e6:.0f} MB each"
        )


def resting(given: argparse.Namespace, broker: Any, watched: Watched, empty: int) -> None:
    """Nobody asks: heartbeats and registry events alone."""
    with channel_to(broker) as channel:
        before, used = _messages(channel), watched.cpu()
        start = time.perf_counter()
        time.sleep(given.seconds)
        events, seconds = _messages(channel) - before, time.perf_counter() - start
        used = watched.cpu() - used
        bodies = [channel.basic_get(_REGISTRY_QUEUE, True)[2] for _one in range(20)]
        size = statistics.mean(len(body) for body in bodies if body)
        channel.queue_purge(_REGISTRY_QUEUE)
    memory = watched.resident()
    print(
        f"at rest for {seconds:.0f} s: broker {memory / 1e6:.0f} MB"
        f" ({(memory - empty) / given.nodes / 1e3:.0f} kB a node), {used / seconds:.1%} of one processor"
    )
    rate, expected = events / seconds, given.nodes * given.lanes / given.interval
    print(
        f"registry: {rate:.1f} events a second (by arithmetic {expected:.1f}), {size:.0f} bytes of body each,"
        f" {rate * size / 1e3:.0f} kB/s"
    )


def loaded(given: argparse.Namespace, crowd: Crowd, target: Target, watched: Watched, in_flight: int) -> None:
    """So many requests in flight over all lanes."""
    until = time.perf_counter() + given.seconds

    def ask(_number: int, _answered: Optional[Answer]) -> Optional[Ask]:
        return Ask({"messages": [{"role": "user", "content": "Hello"}]}) if time.perf_counter() < until else None

    used = watched.cpu()
    seconds, answers = crowd.run(target, ask, in_flight)
    used = watched.cpu() - used
    times = sorted(answer.seconds * 1000 for answer in answers)
    most = times[int(0.99 * (len(times) - 1))]
    print(
        f"{in_flight} in flight: {len(times) / seconds:.0f} answers a second, publish to answer"
        f" {statistics.median(times):.2f} ms (99 of 100 within {most:.2f} ms),"
        f" broker {used / seconds:.0%} of one processor"
    )


def _messages(channel: Any) -> int:
    count: int = channel.queue_declare(_REGISTRY_QUEUE, passive=True).method.message_count
    return count


def allow_files(number: int) -> None:
    """Allow this process, and those that it starts, so many open files.

    :raises RuntimeError: when the system does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= number:
        return
    if hard != resource.RLIM_INFINITY and hard < number:
        raise RuntimeError(
            f"{number} open files are needed and {hard} allowed; raise the limit (ulimit -Hn) or use fewer nodes"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--nodes", type=int, default=1000, help="worker connections (1000)")
    parser.add_argument("--lanes", type=int, default=10, help="lanes of a node (10)")
    parser.add_argument("--models", type=int, default=10, help="models of the fleet (10)")
    parser.add_argument("--interval", type=float, default=30, help="seconds between two events of a lane (30)")
    parser.add_argument("--seconds", type=float, default=60, help="length of each of the three measurements (60)")
    parser.add_argument("--processes", type=int, default=2, help="processes that share the nodes (2)")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.nodes < 1 or given.processes < 1 or not 1 <= given.lanes <= given.models:
        parser.error("there must be a node, a process, and no more lanes of a node than models")
    return given


def main() -> int:
    given = arguments()
    if given.part:
        return Part(argparse.Namespace(**json.loads(given.part))).run()
    print(f"load of this machine before: {os.getloadavg()[0]:.1f}; {os.cpu_count()} processors")
    simulate(given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
