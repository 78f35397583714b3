# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker as the target of the fuzzer."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Optional

import yaml
from fleet_parts import CHAT_MODEL, EMBED_MODEL, ScriptedOllama, WorkerProcess, configuration, eventually
from fleet_worker._fleet.lanes import lane

from .odd_drafts import OddMessage
from .odd_ollama import HANG, OddOllama, odd_inventory
from .odd_requests import MAX_REQUEST, honest, odd_request
from .reply_queues import Arrival

LANES = (
    ("chat", lane("chat", CHAT_MODEL).queue),
    ("generate", lane("generate", CHAT_MODEL).queue),
    ("embed", lane("embed", EMBED_MODEL).queue),
    ("chat", lane("chat", CHAT_MODEL, style="shared").queue),
    ("embed", lane("embed", EMBED_MODEL, style="shared").queue),
)
#: Of a lane to which no odd message goes but one that hangs.
SLOW_MODEL = "slow:1"
SLOW = ("chat", lane("chat", SLOW_MODEL).queue)

_SETTINGS = (
    {"type": "chat", "model": SLOW_MODEL},
    {"type": "chat", "model": CHAT_MODEL},
    {"type": "generate", "model": CHAT_MODEL},
    {"type": "embed", "model": EMBED_MODEL},
    {"type": "chat", "model": CHAT_MODEL, "style": "shared"},
    {"type": "embed", "model": EMBED_MODEL, "style": "shared"},
)

#: Seconds that a request may take: the odd ones that Ollama never answers end by it.
DEADLINE = 60

_EXPECTED = {"chat": b'"Good morning."', "generate": b'"Once there was"', "embed": b'"embeddings":[[0.5,-0.5]]'}


class FuzzedWorker:
    """A real worker process, with an Ollama that answers oddly to what is marked for it.

    :param directory: for its files.
    """

    queues: Sequence[str] = tuple(queue for _type, queue in (*LANES, SLOW))

    def __init__(self, broker: Any, scripted: ScriptedOllama, directory: Path) -> None:
        self._broker = broker
        self._scripted = scripted
        scripted.models = [CHAT_MODEL, EMBED_MODEL, SLOW_MODEL]
        self._odd_ollama = scripted.behave = OddOllama()
        self._directory = directory
        self._numbers = itertools.count()
        self._read = 0
        self.process: Optional[WorkerProcess] = None

    @property
    def worker(self) -> WorkerProcess:
        assert self.process is not None
        return self.process

    def start(self) -> None:
        self.discard()
        directory = self._directory / f"fuzzed-{next(self._numbers)}"
        directory.mkdir()
        settings = configuration(
            self._broker,
            self._scripted.url,
            concurrency=4,
            drain_timeout=20,
            max_request_bytes=MAX_REQUEST,
            lanes=[{**lane_settings, "deadline": DEADLINE} for lane_settings in _SETTINGS],
            ollama={"patience": 5, "interval": 1},
        )
        self._read = 0
        self.process = WorkerProcess(directory, settings, password=self._broker.password)
        self.process.wait_ready()

    def stop(self) -> list[str]:
        self.worker.terminate()
        status = self.worker.wait_end(90)
        return [] if status == 0 else [f"The worker ended with status {status} on SIGTERM"]

    def discard(self) -> None:
        if self.process is not None:
            if self.process.process.poll() is None:
                self.process.kill()
            self.process.close(show_log=False)  # thousands of lines; they stay in its directory
            self.process = None

    def new_log(self) -> bytes:
        content = complete_lines(self.worker.log_path, self._read)
        self._read += len(content)
        return content

    def busy(self) -> str:
        state = self.worker.status_now()
        if "error" in state:
            return str(state["error"])
        return f"{state['held']} held, in flight {state['in_flight']}" if state["held"] or state["in_flight"] else ""

    def ailments(self) -> list[str]:
        status = self.worker.process.poll()
        if status is not None:
            return [f"The worker ended with status {status}"]
        try:
            state = self.worker.status_now()
        except (OSError, ValueError) as error:
            return [f"The status cannot be read: {error}"]
        paused = state.get("counters", {}).get("model_pauses")
        return [f"A request was taken for a fault of the model, {paused} times"] if paused else []

    def resident(self) -> int:
        return resident(self.worker.process.pid)

    def odd(self, random: Random, reply_to: str, correlation_id: str) -> OddMessage:
        return odd_request(random, LANES, reply_to, correlation_id)

    def honest(self, number: int, reply_to: str, correlation_id: str) -> OddMessage:
        lanes = (*LANES, SLOW)
        return honest(*lanes[number % len(lanes)], reply_to, correlation_id)

    def hanging(self, reply_to: str) -> Sequence[OddMessage]:
        self._odd_ollama.go_on = threading.Event()
        return [honest(*SLOW, reply_to, HANG, content=HANG)]

    def let_go(self) -> None:
        self._odd_ollama.go_on.set()

    def ends(self, arrival: Arrival) -> bool:
        return True

    def is_right(self, arrival: Arrival) -> bool:
        return any(expected in arrival.body for expected in _EXPECTED.values())

    def read_configuration_again(self, round_number: int) -> list[str]:
        """Make the worker read another configuration; return the faults."""
        content = yaml.safe_load(self.worker.config_path.read_text())
        content["lanes"][0]["priority"] = round_number % 100
        self.worker.config_path.write_text(yaml.safe_dump(content))
        before = self.worker.log_path.read_bytes().count(b"event=reloaded")
        self.worker.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.worker.log_path.read_bytes().count(b"event=reloaded") > before, "SIGHUP is heard", 60)
        return self.ailments()

    def have_odd_inventories(self, random: Random, number: int) -> None:
        """Make Ollama give that many malformed lists of models; wait until the worker considers it up again."""
        answers = [odd_inventory(random) for _one in range(number)]
        self._scripted.inventory = lambda: answers.pop() if answers else None
        eventually(lambda: not answers, "Ollama is looked at", 90, self.worker)
        eventually(lambda: self.worker.status_now().get("ollama_up"), "Ollama is up", 90, self.worker)


def resident(pid: int) -> int:
    """Return the bytes of memory that a process occupies."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def complete_lines(path: Path, position: int) -> bytes:
    """Return the complete lines of a log after a position."""
    with path.open("rb") as log:
        log.seek(position)
        content = log.read()
    return content[: content.rfind(b"\n") + 1]
