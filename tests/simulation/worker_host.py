# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with the real worker, in virtual time: the daemon's own service builds it, with other parts at its edges.

What is real: everything between pika's connection and the client of Ollama. What is not: sockets, threads, clocks,
systemd and the files of a host.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, Optional
from unittest import mock

from fleet_worker._fleet import broker as broker_client
from fleet_worker._ollama import calls
from fleet_worker._ollama.client import OllamaClient
from fleet_worker.amqp import reconnecting, reply_probe
from fleet_worker.inference import handler, model_trust
from fleet_worker.inference.health import Health
from fleet_worker.process import service
from fleet_worker.settings import credentials
from fleet_worker.settings.config import Config
from model_connection import ModelConnection, Network
from model_ollama import ModelOllama, VirtualEvent, VirtualHttpClient, VirtualPool, VirtualTransport, run_task, sleep
from virtual_clock import Clock, Process, VirtualLoop


class VirtualHealth(Health):
    """The daemon's watch over Ollama, which looks when virtual time has come."""

    def __init__(self, process: Process, ollama: ModelOllama, changed: Any, interval: float) -> None:
        super().__init__(
            OllamaClient("http://127.0.0.1:11434", transport=VirtualTransport(ollama), retries=0),
            changed,
            interval=interval,
        )
        for owner in (self, self.thread):
            for name, value in list(vars(owner).items()):
                if isinstance(value, threading.Event):
                    setattr(owner, name, VirtualEvent(process, is_set=value.is_set()))

    def start(self) -> None:
        run_task(self.thread._run)


class VirtualWatchdog:
    """Ends calls of threads whose total time is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._alarms: dict[Any, Any] = {}

    def watch(self, call: Any, deadline: float) -> None:
        self._alarms[call] = self._clock.after(deadline - self._clock.monotonic(), call.expire, self._clock.process)

    def forget(self, call: Any) -> None:
        alarm = self._alarms.pop(call, None)
        if alarm is not None:
            alarm.callback = None


class WorkerHost:
    """A host that runs a worker, again when it has ended.

    :param config: of the worker, as the file has it.
    """

    def __init__(self, clock: Clock, name: str, network: Network, ollama: ModelOllama, config: dict[str, Any]) -> None:
        self.clock = clock
        self.name = name
        self.network = network
        self.ollama = ollama
        self.config = config
        self.process = Process(clock, name)
        self.service: Any = None
        self.ended = False
        self.starts = 0

    def start(self) -> None:
        """Start the worker's process."""
        skew = self.process.skew
        self.process = Process(self.clock, self.name)
        self.process.skew = skew
        self.ollama.process = self.process
        self.ended = False
        self.starts += 1
        self.process.run(self._build)

    def kill(self) -> None:
        """End it without a word. Its kernel closes its connections, and Ollama notices."""
        connection = self._connection()
        self.process.kill()
        if connection is not None:
            connection._gone(tell=True)
        self.ollama._under_way.clear()

    def drain(self) -> None:
        """End it as systemd does."""
        self.process.run(self.worker.drain)

    def reload(self, lanes: list[dict[str, Any]]) -> None:
        """Have it serve other lanes."""
        self.config = {**self.config, "lanes": lanes}
        config = Config.model_validate(self.config)
        self.process.run(lambda: self.service._take_over(config))

    @property
    def worker(self) -> Any:
        return self.service._worker

    @property
    def running(self) -> bool:
        return self.process.alive and not self.ended

    def status(self) -> Any:
        """What the worker says of itself."""
        return self.worker.status()

    @property
    def unconfirmed(self) -> int:
        """Answers that the worker has not settled."""
        return int(self.worker._session.publisher.pending)

    def _connection(self) -> Optional[ModelConnection]:
        if self.service is None:
            return None
        found: Optional[ModelConnection] = self.worker._session._link._connection
        return found

    @property
    def server_connection(self) -> Any:
        """The broker's end of its connection; None without one."""
        connection = self._connection()
        return None if connection is None else connection._server

    def open_channels(self) -> int:
        """Return how many channels the broker has open for it, without those of unsettled deliveries.

        A channel whose get or declaration is not answered in time has a successor, and is closed after its late answer.
        Until then the channel is not counted.
        """
        connection = self._connection()
        if connection is None or connection._server is None:
            return 0
        left = connection.given_up()
        channels = connection._server.channels.values()
        return sum(one.open and not one.unacked and one.number not in left for one in channels)

    def _build(self) -> None:
        process, ollama = self.process, self.ollama
        loop = VirtualLoop(process, self.network)
        parts = {
            "EventLoop": lambda: loop,
            "ThreadPool": lambda size: VirtualPool(process, size),
            "OllamaClient": lambda host, **options: OllamaClient(
                host, transport=VirtualTransport(ollama), **{**options, "retries": 0}
            ),
            "Health": lambda _client, changed, *, interval, **_options: VirtualHealth(
                process, ollama, changed, interval
            ),
            "Metrics": lambda _node: mock.MagicMock(),
            "StatusServer": lambda *_arguments: mock.MagicMock(),
        }
        client = _Callable(lambda _loop, _address: VirtualHttpClient(loop, ollama))
        with mock.patch.multiple(service, HttpClient=client, **parts):
            self.service = service.Service(Config.model_validate(self.config), "")
        self.service._ended = self._ended
        self.worker._ended = self._ended
        self.worker.start()
        self.service._health.start()

    def _ended(self, _error: Any) -> None:
        self.ended = True
        connection = self._connection()
        if connection is not None:
            connection._gone(tell=True)
        self.process.kill()


class _Callable:
    """Stands for a class that says first whether it suits."""

    def __init__(self, make: Any) -> None:
        self._make = make

    @staticmethod
    def suits(_address: Any) -> bool:
        return True

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)


@contextmanager
def virtual_edges(clock: Clock) -> Iterator[None]:
    """Let the daemon's modules use virtual time and connections for a while."""

    class VirtualThread:
        """Stands for a thread of the worker's own."""

        def __init__(self, target: Any, args: Any = (), **_options: Any) -> None:
            self._target, self._args = target, args

        def start(self) -> None:
            run_task(lambda: self._target(*self._args))

    with ExitStack() as stack:
        stack.enter_context(clock.in_place())
        stack.enter_context(mock.patch("time.sleep", lambda seconds: sleep(_current(clock), seconds)))
        stack.enter_context(mock.patch.object(credentials, "read", return_value="password"))
        stack.enter_context(mock.patch.object(reconnecting, "Connection", ModelConnection))
        stack.enter_context(mock.patch.object(calls, "_WATCHDOG", VirtualWatchdog(clock)))
        stack.enter_context(mock.patch.object(model_trust, "threading", SimpleNamespace(Thread=VirtualThread)))
        yield


def _current(clock: Clock) -> Process:
    if clock.process is None:
        raise RuntimeError("nobody is there to sleep")
    return clock.process


def request_body(text: str, embed: bool) -> bytes:
    """Return the body of a request in the typed dialect."""
    return json.dumps({"input": text} if embed else {"messages": [{"role": "user", "content": text}]}).encode()


__all__ = ["WorkerHost", "broker_client", "handler", "reply_probe", "request_body", "virtual_edges"]
