# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether Ollama answers, and which models it has.

A thread of its own asks: now and then, at once when a request has met an Ollama that did not answer, and more often
until it answers again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ._ollama.calls import Call
from ._ollama.client import OllamaClient
from ._ollama.errors import CollectionError, InvalidNameError
from ._ollama.names import ModelName
from .logs import Log

LOG = Log()

#: Seconds between two looks at an Ollama that does not answer.
INTERVAL_DOWN = 1.0
#: Seconds for an answer. Ollama lists its models from the disk, also while it is busy.
TIMEOUT = 10.0


@dataclass(frozen=True)
class State:
    """How Ollama is.

    :ivar reason: why it is not up.
    :ivar models: the full names of its models, in lower case, as Ollama looks them up without regard to case.
    :ivar abilities: the models as Ollama spells them, each with what it can (``completion``, ``embedding`` and others);
        only when asked for.
    """

    up: bool
    reason: str = ""
    models: frozenset[str] = frozenset()
    abilities: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def has(self, model: str) -> bool:
        return ModelName.parse(model).full.lower() in self.models


class Health:
    """Watches Ollama.

    :param client: does not retry by itself.
    :param changed: called from any thread, with the state, the first time and whenever it has changed.
    :param interval: seconds between two looks at an Ollama that answers.
    :param with_abilities: whether to ask what each model can.
    """

    def __init__(
        self, client: OllamaClient, changed: Callable[[State], None], *, interval: float, with_abilities: bool = False
    ) -> None:
        self._client = client
        self._changed = changed
        self._interval = interval
        self._with_abilities = with_abilities
        #: What each model can, by name and digest, and so asked once.
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}
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

    def ask_abilities(self) -> None:
        """From now on, beginning at once, ask what each model can."""
        self._with_abilities = True
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
                self._look.wait(self._interval)
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
            listed = self._client.tags(call=_call())
        except CollectionError as error:
            return State(up=False, reason=error.message)
        models = [model for model in listed.get("models") or () if _is_named(model)]
        names = frozenset(ModelName.parse(model["name"]).full.lower() for model in models)
        if not self._with_abilities:
            return State(up=True, models=names)
        known = {(model["name"], str(model.get("digest"))): self._abilities_of(model) for model in models}
        self._known = {key: abilities for key, abilities in known.items() if abilities}
        return State(
            up=True,
            models=names,
            abilities=tuple(sorted((name, abilities) for (name, _digest), abilities in self._known.items())),
        )

    def _abilities_of(self, model: Any) -> tuple[str, ...]:
        """Return what a model can; nothing when Ollama does not tell now, and then it is asked the next time."""
        name = model["name"]
        known = self._known.get((name, str(model.get("digest"))))
        if known is not None:
            return known
        try:
            shown = self._client.show(name, call=_call())
        except CollectionError as error:
            LOG.warning("model_not_shown", model=name, error=error.message)
            return ()
        abilities = shown.get("capabilities")
        if isinstance(abilities, list) and abilities:
            return tuple(sorted(str(ability) for ability in abilities))
        # Ollama before 0.6.4 does not say. What it says since then it makes of the same key (server/images.go).
        info = shown.get("model_info")
        pools = isinstance(info, dict) and any(str(key).endswith(".pooling_type") for key in info)
        return ("embedding",) if pools else ("completion",)


def _call() -> Call:
    return Call(connect_timeout=TIMEOUT, read_timeout=TIMEOUT, total_timeout=TIMEOUT)


def _is_named(model: Any) -> bool:
    """Whether a model has a name that a request can spell."""
    try:
        ModelName.parse(model["name"])
    except (InvalidNameError, KeyError, TypeError):
        return False
    return True
