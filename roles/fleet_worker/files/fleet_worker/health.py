# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether Ollama answers, and which models it has.

A thread of its own asks: now and then, at once when a request has met an Ollama that did not answer, and more often
until it answers again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ._ollama.calls import Call
from ._ollama.client import OllamaClient
from ._ollama.errors import CollectionError, InvalidNameError
from ._ollama.names import ModelName

#: Seconds between two looks at an Ollama that answers; a model that was removed or added is noticed as soon as that.
INTERVAL = 15.0
#: Seconds between two looks at one that does not.
INTERVAL_DOWN = 1.0
#: Seconds for an answer. Ollama lists its models from the disk, also while it is busy.
TIMEOUT = 10.0


@dataclass(frozen=True)
class State:
    """How Ollama is.

    :ivar reason: why it is not up.
    :ivar models: the full names of its models, in lower case, as Ollama looks them up without regard to case.
    """

    up: bool
    reason: str = ""
    models: frozenset[str] = frozenset()

    def has(self, model: str) -> bool:
        return ModelName.parse(model).full.lower() in self.models


class Health:
    """Watches Ollama.

    :param client: does not retry by itself.
    :param changed: called from any thread, with the state, the first time and whenever it has changed.
    """

    def __init__(self, client: OllamaClient, changed: Callable[[State], None]) -> None:
        self._client = client
        self._changed = changed
        self._lock = threading.Lock()
        self._state: Optional[State] = None
        self._up = threading.Event()
        self._look = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; whoever waits for Ollama goes on."""
        with self._lock:
            self._stopped.set()
            self._look.set()
            self._up.set()

    def suspect(self, reason: str) -> None:
        """A request has found Ollama not answering: it counts as down, at once, until it has answered again.

        At once, because a request that is given back must not find the same worker consuming.
        """
        self._set(State(up=False, reason=reason))
        self._look.set()

    def wait(self, seconds: float) -> bool:
        """Wait until Ollama is up; return whether it is."""
        return self._up.wait(max(0.0, seconds)) and not self._stopped.is_set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._look.clear()
            state = self._ask()
            self._set(state)
            if state.up:
                self._look.wait(INTERVAL)
            else:
                self._stopped.wait(INTERVAL_DOWN)

    def _set(self, state: State) -> None:
        with self._lock:
            if self._stopped.is_set():
                return
            if state.up:
                self._up.set()
            else:
                self._up.clear()
            if state != self._state:
                self._state = state
                self._changed(state)

    def _ask(self) -> State:
        try:
            listed = self._client.tags(call=Call(connect_timeout=TIMEOUT, read_timeout=TIMEOUT, total_timeout=TIMEOUT))
        except CollectionError as error:
            return State(up=False, reason=error.message)
        return State(up=True, models=frozenset(_names(listed.get("models"))))


def _names(models: Any) -> Iterable[str]:
    for model in models if isinstance(models, list) else ():
        try:
            yield ModelName.parse(model["name"]).full.lower()
        except (InvalidNameError, KeyError, TypeError):
            continue  # a name that no request can spell
