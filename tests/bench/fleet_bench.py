# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cases of the fleet are made of: one broker, workers of ours and of others, a stub and real Ollamas."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import services
from crowd import Crowd, Target, celery, typed
from fleet_parts import WorkerProcess, channel_to, configuration, set_up_broker
from fleet_worker._fleet.lanes import lane
from fleet_worker._ollama.client import OllamaClient
from fleet_worker._ollama.hosts import parse_host
from fleet_worker.inference.http_client import HttpClient
from fleet_worker.runtime.event_loop import EventLoop
from machine import processor_seconds

HERE = Path(__file__).resolve().parent

#: Exchange that every contestant's lanes are bound to.
EXCHANGE = "llm.request"

#: Lanes of every contestant.
LANES = 30

#: Seconds for a contestant to start in.
_START = 120.0

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Fleet:
    """What the cases share; each part starts when a case first asks for it."""

    def __init__(self, scratch: Path, given: argparse.Namespace, stack: contextlib.ExitStack) -> None:
        self.scratch = scratch
        self.given = given
        self.stack = stack
        self._made = 0

    def broker(self, series: str = "4") -> Any:
        """A fresh RabbitMQ, set up as the collection sets one up."""
        if not hasattr(self, "_broker"):
            self._broker = self.stack.enter_context(services.rabbitmq(series))
            set_up_broker(self._broker)
        return self._broker

    @contextlib.contextmanager
    def crowd(self) -> Iterator[Crowd]:
        crowd = Crowd(self.broker().amqp_url, EXCHANGE)
        try:
            yield crowd
        finally:
            crowd.close()

    @contextlib.contextmanager
    def stub(self, models: Sequence[str]) -> Iterator[str]:
        """The URL of an Ollama that answers at once."""
        command = [sys.executable, str(HERE / "stub.py"), *models]
        with _process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            yield f"http://127.0.0.1:{int(_line(process, '[0-9]+'))}"

    @contextlib.contextmanager
    def ours(self, ollama: str, lanes: Sequence[dict[str, Any]], **others: Any) -> Iterator[Running]:
        """The worker, as systemd would run it, with the defaults of its configuration where a case says nothing.

        Its start takes from the start of the process until it says READY.
        """
        self._made += 1
        directory = self.scratch / f"worker-{self._made}"
        directory.mkdir()
        settings = configuration(self.broker(), ollama, lanes=list(lanes), exchanges=[EXCHANGE], **others)
        start = time.perf_counter()
        worker = WorkerProcess(directory, settings, password=self.broker().password)
        try:
            worker.wait_ready(_START)
            queues = [lane(entry["type"], entry["model"]).queue for entry in lanes]
            yield Running(
                Target(queues, [entry["model"] for entry in lanes]),
                worker.process.pid,
                time.perf_counter() - start,
                worker,
            )
        finally:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints its log, as tests want it
                worker.close()

    @contextlib.contextmanager
    def peer(self, kind: str, ollama: str, lanes: Sequence[dict[str, Any]], slots: int) -> Iterator[Running]:
        """A worker of others; its lanes are declared and bound as ours are."""
        made = [lane(entry["type"], entry["model"]) for entry in lanes]
        with channel_to(self.broker()) as channel:
            for one in made:
                channel.queue_declare(one.queue, durable=True, arguments=one.arguments)
                channel.queue_bind(one.queue, EXCHANGE, one.queue)
        queues = [one.queue for one in made]
        settings = {
            "url": self.broker().amqp_url,
            "exchange": EXCHANGE,
            "queues": queues,
            "arguments": made[0].arguments,
            "slots": slots,
            "ollama": ollama,
        }
        self._made += 1
        log = self.scratch / f"{kind}-{self._made}.log"
        command = [str(peers_python()), str(HERE / "peer_workers.py"), kind, json.dumps(settings)]
        with log.open("wb") as errors:
            with _process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as process:
                try:
                    _line(process, "ready")
                except RuntimeError as error:
                    raise RuntimeError(f"{kind}: {error}\n{log.read_text()[-3000:]}") from error
                target = Target(queues, [one.model for one in made], celery if kind == "celery" else typed)
                yield Running(target, process.pid)


@dataclass
class Running:
    """A worker that takes requests.

    :ivar started_in: seconds.
    :ivar worker: ours only.
    """

    target: Target
    pid: int
    started_in: float = 0.0
    worker: Any = field(default=None)

    def cpu(self) -> float:
        """Seconds of processor time used so far."""
        return processor_seconds(self.pid)

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE


def direct(url: str) -> OllamaClient:
    """The client that the worker uses, set as the worker sets it."""
    return OllamaClient(url, connect_timeout=10)


class Nearby:
    """Asks an Ollama on this machine as the worker's I/O thread does, and does nothing else meanwhile."""

    def __init__(self, url: str) -> None:
        self._loop = EventLoop()
        self._asker = HttpClient(self._loop, parse_host(url))
        self._client = OllamaClient(url)

    def chat(self, **body: Any) -> dict[str, Any]:
        inference = self._client.inference("chat", body)
        assert inference is not None
        told: list[Any] = []

        def over(answer: Any) -> None:
            told.append(answer)
            self._loop.stop()

        self._asker.ask(inference.request, 60.0, over)
        self._loop.start()
        return inference.result_of(told[0], told[0].body())


_peers: list[Path] = []


def peers_python() -> Path:
    """The interpreter of the environment that only the peers live in."""
    if not _peers:
        made = subprocess.run(
            [str(HERE.parent / "tools" / "venv.sh"), str(HERE / "requirements-peers.txt")],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        _peers.append(Path(made.stdout.strip()) / "bin" / "python")
    return _peers[0]


@contextlib.contextmanager
def _process(command: list[str], **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends when its standard input does; killed when it does not."""
    process = subprocess.Popen(command, bufsize=0, **streams)  # what select sees is all there is to read
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _line(process: subprocess.Popen[bytes], wanted: str) -> str:
    """Return the first line that a process prints and that is all of a pattern; some greet first.

    :raises RuntimeError: when it ends, or stays silent.
    """
    assert process.stdout is not None
    deadline = time.monotonic() + _START
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            line = process.stdout.readline()
            if re.fullmatch(wanted, line.decode(errors="replace").strip()):
                return line.decode().strip()
            if not line:
                raise RuntimeError(f"it ended with {process.wait()} before it began to work")
    raise RuntimeError(f"it did not begin to work within {_START:.0f} s")
