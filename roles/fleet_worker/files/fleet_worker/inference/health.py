# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The health of Ollama: does it answer, and which models does it have?

A separate thread asks Ollama at an interval. After a request without an answer, the thread asks at once, and then more
often until Ollama answers again. An unreadable answer counts as no answer. After a request whose model Ollama does not
know, the request's own thread asks.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Optional

from .._ollama.calls import Call
from .._ollama.client import OllamaClient
from .._ollama.errors import CollectionError, InvalidNameError
from .._ollama.exhaustion import exhausted
from .._ollama.names import ModelName
from .._ollama.text import printable
from ..logs.log import Log
from ..runtime.supervisor import RoundThread

LOG = Log()

#: Seconds between two checks of an Ollama that does not answer.
INTERVAL_DOWN = 1.0
#: The most seconds for the list of models. Ollama reads the list from the disk, also while it is busy.
TIMEOUT = 10.0
#: The most seconds of one check for the abilities of all models. The next check continues with the remaining models.
ABILITIES_TIMEOUT = 60.0
#: The most models of one list.
MAX_MODELS = 10000


@dataclass(frozen=True)
class OllamaState:
    """The state of Ollama.

    :ivar reason: why Ollama is not up.
    :ivar own_fault: whether this process, and not Ollama, is the reason.
    :ivar models: the keys (:attr:`ModelName.key`) of Ollama's models.
    :ivar abilities: the abilities (``completion``, ``embedding`` and others) of each model, by Ollama's spelling of its
        name; empty unless the worker needs them.
    """

    up: bool
    reason: str = ""
    own_fault: bool = False
    models: frozenset[str] = frozenset()
    abilities: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def why_down(self) -> str:
        """The reason why Ollama answers no requests, as a sentence for people."""
        return f"The worker cannot ask Ollama: {self.reason}" if self.own_fault else f"Ollama is down: {self.reason}"

    def has(self, model_key: str) -> bool:
        """Return whether Ollama has a model, by its :attr:`ModelName.key`."""
        return model_key in self.models


class Health:
    """Watches Ollama.

    :param client: a client that does not retry.
    :param close_idle: called if this process has no file descriptors left; closes idle connections.
    :param changed: called from any thread with the first state, and with each changed state.
    :param interval: seconds between two checks of an Ollama that answers.
    :param with_abilities: whether to ask for the abilities of each model.
    """

    def __init__(
        self,
        client: OllamaClient,
        changed: Callable[[OllamaState], None],
        *,
        interval: float,
        with_abilities: bool = False,
        close_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._changed = changed
        self._interval = interval
        self._close_idle = close_idle
        self._with_abilities = with_abilities
        #: The abilities by name and digest of a model, so that each model is asked only once.
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}
        self._lock = threading.Lock()
        #: One check at a time, so that no older finding replaces a newer one.
        self._looking = threading.Lock()
        self._state: Optional[OllamaState] = None
        self._up = threading.Event()
        self._look_wanted = threading.Event()
        self._look_wanted.set()  # begin the first check at once
        self._stopped = threading.Event()
        self.thread = RoundThread("health", self._wait_for_look, lambda _looked: self._look())

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """End the thread, and all calls of :meth:`wait`."""
        with self._lock:
            self.thread.stop()
            self._stopped.set()
            self._look_wanted.set()
            self._up.set()

    def suspect(self, error: CollectionError) -> None:
        """Note a request without an answer: Ollama counts as down until it answers a check.

        The state changes before the check, because this worker must not get a requeued request again.
        """
        self._set_state(self._state_down(error))
        self._look_wanted.set()

    def still_has(self, model_key: str) -> bool:
        """Return whether Ollama has a model, after an answer that says otherwise. May wait for a check.

        The state changes before the return, because this worker must not get a requeued request again. Many requests
        may call this together, so only the first one asks Ollama.
        """
        with self._looking:
            state = self._state
            if state is None or _serves(state, model_key):
                state = self._look_now()
            return _serves(state, model_key)

    def ask_abilities(self) -> None:
        """Ask for the abilities of each model in all checks from now on, and begin a check at once.

        The check reports its state, also if the abilities were known before, because the caller waits for them.
        """
        with self._lock:
            self._with_abilities = True
            self._state = None
        self._look_wanted.set()

    def wait(self, seconds: float) -> bool:
        """Wait until Ollama is up; return whether it is."""
        return self._up.wait(max(0.0, seconds)) and not self._stopped.is_set()

    def _wait_for_look(self) -> None:
        state = self._state
        if state is None or state.up:
            self._look_wanted.wait(self._interval)
        else:
            self._stopped.wait(INTERVAL_DOWN)

    def _look(self) -> None:
        self._look_wanted.clear()
        with self._looking:
            self._look_now()

    def _look_now(self) -> OllamaState:
        try:
            state = self._ask_state()
        except Exception as error:
            # An unexpected answer must not end the thread.
            reason = f"its answer cannot be read ({type(error).__name__}: {printable(error)})"
            LOG.exception("health_failed", error=reason)
            state = OllamaState(up=False, reason=reason)
        self._set_state(state)
        return state

    def _set_state(self, state: OllamaState) -> None:
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

    def _ask_state(self) -> OllamaState:
        try:
            listed = self._client.tags(call=_call()).get("models")
        except CollectionError as error:
            return self._state_down(error)
        if listed is None:  # some versions answer null without models
            listed = []
        if not isinstance(listed, list):
            return OllamaState(up=False, reason=f"its list of models is not a list: {printable(listed, 60)}")
        models = [model for model in listed[:MAX_MODELS] if _is_named(model)]
        names = frozenset(ModelName.parse(model["name"]).key for model in models)
        if not self._with_abilities:
            return OllamaState(up=True, models=names)
        ends = time.monotonic() + ABILITIES_TIMEOUT
        known = {(model["name"], str(model.get("digest"))): self._abilities_of(model, ends) for model in models}
        self._known = {key: abilities for key, abilities in known.items() if abilities}
        return OllamaState(
            up=True,
            models=names,
            abilities=tuple(sorted({name: abilities for (name, _digest), abilities in self._known.items()}.items())),
        )

    def _state_down(self, error: CollectionError) -> OllamaState:
        limit = exhausted(error)
        if limit is None:
            return OllamaState(up=False, reason=printable(error.message, 500))
        LOG.error("machine_limit", error=str(limit))
        self._close_idle()
        return OllamaState(up=False, reason=str(limit), own_fault=True)

    def _abilities_of(self, model: Any, ends: float) -> tuple[str, ...]:
        """Return the abilities of a model; none if Ollama does not answer, and then the next check asks again.

        :param ends: the end of this check, on the monotonic clock.
        """
        name = model["name"]
        known = self._known.get((name, str(model.get("digest"))))
        if known is not None:
            return known
        if time.monotonic() > ends:
            return ()
        try:
            shown = self._client.show(name, call=_call())
        except CollectionError as error:
            LOG.warning("model_not_shown", model=name, error=printable(error.message))
            return ()
        abilities = shown.get("capabilities")
        if isinstance(abilities, list) and abilities:
            return tuple(sorted({printable(ability, 60) for ability in abilities[:100]}))
        # Ollama before 0.6.4 does not list abilities. Later versions derive them from the same key (server/images.go).
        info = shown.get("model_info")
        pools = isinstance(info, dict) and any(str(key).endswith(".pooling_type") for key in info)
        return ("embedding",) if pools else ("completion",)


def _serves(state: OllamaState, model_key: str) -> bool:
    return state.up and state.has(model_key)


def _call() -> Call:
    return Call(connect_timeout=TIMEOUT, read_timeout=TIMEOUT, total_timeout=TIMEOUT)


def _is_named(model: Any) -> bool:
    """Return whether a model has a name that a request can contain."""
    try:
        ModelName.parse(model["name"])
    except (InvalidNameError, KeyError, TypeError):
        return False
    return True
