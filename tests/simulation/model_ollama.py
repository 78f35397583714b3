# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ollama in virtual time, and the two ways in which the daemon asks it: from a thread, and from the I/O thread.

Threads are greenlets here: a task runs until it waits for something, and goes on when virtual time has come to that.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial
from typing import Any, Callable, Optional

from fleet_worker._ollama import api_errors
from fleet_worker._ollama.hosts import parse_host
from fleet_worker.inference.http_client import HttpClient, PendingRequest, ResponseParser
from greenlet import getcurrent, greenlet
from virtual_clock import Process

#: What a wait is over with: an answer, or an exception.
Outcome = Any


class Wait:
    """One wait of a task. The first caller that ends it decides about its result."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._task = getcurrent()
        self._main = self._task.parent
        self.over = False

    def end(self, outcome: Outcome = None) -> None:
        """Go on, on the next turn."""
        if not self.over:
            self.over = True
            self._process.clock.after(0.0, partial(self._task.switch, outcome), self._process)

    def suspend(self) -> Outcome:
        """Wait; return, or raise, what the wait is over with."""
        if self._main is None:
            raise RuntimeError("the I/O thread must not wait")
        outcome = self._main.switch()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def sleep(process: Process, seconds: float) -> None:
    """Stands for ``time.sleep`` in a task."""
    wait = Wait(process)
    process.clock.after(seconds, wait.end, process)
    wait.suspend()


class VirtualEvent:
    """Stands for ``threading.Event``; only tasks wait for it."""

    def __init__(self, process: Process, *, is_set: bool = False) -> None:
        self._process = process
        self._set = is_set
        self._waits: list[Wait] = []

    def set(self) -> None:
        self._set = True
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.end()

    def clear(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: Optional[float] = None) -> bool:
        if not self._set:
            wait = Wait(self._process)
            self._waits.append(wait)
            if timeout is not None:
                self._process.clock.after(timeout, wait.end, self._process)
            wait.suspend()
        return self._set


class VirtualPool:
    """Stands for the pool of threads, in the process that is given."""

    def __init__(self, process: Process, size: int) -> None:
        self._process = process
        self._free = size
        self._waiting: list[Callable[[], None]] = []
        self.threads: list[Any] = []

    def start(self) -> None:
        """There is nothing to start."""

    def stop(self) -> None:
        """There is nothing to stop."""

    def allow(self, seconds: float) -> None:
        """Nobody watches these threads."""

    def submit(self, task: Callable[[], None]) -> None:
        self._waiting.append(task)
        self._next()

    def _next(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            task = self._waiting.pop(0)
            self._process.clock.after(0.0, partial(run_task, partial(self._run, task)), self._process)

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        finally:
            self._free += 1
            self._next()


def run_task(task: Callable[[], None]) -> None:
    """Run a task until it waits for the first time, or ends."""
    greenlet(task).switch()


class Broken(Exception):
    """Ollama does not answer: how, says the text."""


class ModelOllama:
    """One Ollama.

    :param seconds: how long an inference takes.
    :ivar up: whether it takes connections.
    :ivar busy_until: until when it says that it is busy.
    :ivar slower: by what it takes longer.
    :ivar models: names that it has.
    """

    def __init__(
        self, process: Process, chance: random.Random, seconds: tuple[float, float], models: list[str]
    ) -> None:
        self.process = process
        self.clock = process.clock
        self.chance = chance
        self.seconds = seconds
        self.models = models
        self.up = True
        self.busy_until = 0.0
        self.slower = 1.0
        #: How many of the next requests end with the process that runs the model.
        self.runner_ends = 0
        #: Until when it cannot load a model.
        self.broken_until: dict[str, float] = {}
        #: Called with each request that fails for one of these two reasons, and with the reason.
        self.on_failure: Callable[[str], None] = lambda _reason: None
        self.asked = 0
        self._under_way: set[Callable[[Any], None]] = set()

    def stop(self) -> None:
        """It dies: who waits for an answer notices."""
        self.up = False
        under_way, self._under_way = self._under_way, set()
        for answer in under_way:
            answer(api_errors.ConnectionLostError("the model of Ollama has died"))

    def start(self) -> None:
        self.up = True

    def ask(self, path: str, body: bytes, answer: Callable[[Any], None]) -> Callable[[], None]:
        """Ask; ``answer`` is called once, with status and document, or with an error. Return what cancels it."""
        if not self.up:
            self.clock.after(
                0.001, partial(answer, api_errors.ServerUnreachableError("connection refused")), self.process
            )
            return lambda: None
        if path == "/api/tags":
            self.clock.after(0.001, partial(answer, (200, {"models": [{"name": name} for name in self.models]})))
            return lambda: None
        if self.busy_until > self.clock.now:
            self.clock.after(0.001, partial(answer, (503, {"error": "server busy, please try again."})), self.process)
            return lambda: None
        self.asked += 1
        least, most = self.seconds
        seconds = (least + (most - least) * self.chance.random() ** 2) * self.slower
        asked = json.loads(body)
        model = str(asked["model"])
        document: tuple[int, dict[str, Any]] = (200, self._document(path, asked))
        if self.runner_ends > 0:
            self.runner_ends -= 1
            document = (500, {"error": "llama runner process no longer running: -1"})
            self.on_failure("a runner has ended")
        elif self.broken_until.get(model, 0.0) > self.clock.now:
            document = (500, {"error": "error loading model"})
            self.on_failure("a model has failed")
        self._under_way.add(answer)

        def done() -> None:
            if answer in self._under_way:
                self._under_way.discard(answer)
                answer(document)

        self.clock.after(seconds, done, self.process)
        return lambda: self._under_way.discard(answer)

    @staticmethod
    def _document(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/api/embed":
            texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
            return {"model": body["model"], "embeddings": [[0.5, 0.25]] * len(texts), "prompt_eval_count": len(texts)}
        counts = {"prompt_eval_count": 3, "eval_count": 2, "done": True, "done_reason": "stop"}
        if path == "/api/chat":
            text = body["messages"][-1]["content"]
            return {"model": body["model"], "message": {"role": "assistant", "content": f"to {text}"}, **counts}
        return {"model": body["model"], "response": f"to {body.get('prompt')}", **counts}


class VirtualTransport:
    """The transport of the daemon's client: what a thread asks, it waits for."""

    def __init__(self, ollama: ModelOllama) -> None:
        self._ollama = ollama

    def close(self) -> None:
        """There are no connections."""

    def send(self, request: Any, call: Any) -> _Response:
        call.check()
        wait = Wait(self._ollama.process)
        cancel = self._ollama.ask(request.path, request.body or b"", wait.end)

        class Ended:
            """Stands for the event that a call sets when it is ended."""

            @staticmethod
            def set() -> None:
                cancel()
                wait.end(call._error)

        call._ended = Ended()
        return _Response(*wait.suspend())


class _Response:
    def __init__(self, status: int, document: dict[str, Any]) -> None:
        self.status = status
        self.reason = "OK" if status == 200 else "Error"
        self.headers = {"Content-Type": "application/json"}
        self._body = json.dumps(document).encode()

    def chunks(self) -> Iterator[bytes]:
        yield self._body

    def close(self) -> None:
        """Nothing to release."""


class VirtualHttpClient(HttpClient):
    """The client of the I/O thread, whose requests go to a model."""

    def __init__(self, loop: Any, ollama: ModelOllama) -> None:
        super().__init__(loop, parse_host("http://127.0.0.1:11434"))
        self._ollama = ollama

    def ask(self, request: Any, seconds: float, on_result: Callable[[Any], None]) -> PendingRequest:
        asked = PendingRequest(self, seconds, on_result)
        self.unanswered.add(asked)

        def answered(outcome: Any) -> None:
            if isinstance(outcome, Exception):
                asked.fail(outcome)  # type: ignore[arg-type]
                return
            status, document = outcome
            body = json.dumps(document).encode()
            parser = ResponseParser()
            parser.feed(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
            asked.succeed(parser)

        cancel = self._ollama.ask(request.path, request.body, answered)

        overdue = api_errors.DeadlineExceededError(f"no answer within {seconds:g} s")
        alarm = self.loop.call_later(seconds, lambda: asked.fail(overdue))

        class Connection:
            """The end of a request releases it."""

            @staticmethod
            def reset() -> None:
                cancel()
                self.loop.remove_timeout(alarm)

        asked.connection = Connection()  # type: ignore[assignment]
        return asked
