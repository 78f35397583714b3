# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Ollama is, and what its models can."""

from __future__ import annotations

import errno
import threading
import time
from typing import Any, Callable

import pytest
from fleet_worker._ollama.api_errors import ServerUnreachableError
from fleet_worker._ollama.errors import CollectionError
from fleet_worker._ollama.names import ModelName
from fleet_worker.inference.health import Health, OllamaState


class Client:
    def __init__(self, shown: dict[str, Any]) -> None:
        self.shown = shown
        self.asked: list[str] = []

    def tags(self, *, call: Any) -> dict[str, Any]:
        return {"models": [{"name": name, "digest": "d"} for name in self.shown] + [{"name": "a/b/c/d/e"}, {}, 3]}

    def show(self, model: str, *, call: Any) -> Any:
        self.asked.append(model)
        found = self.shown[model]
        if found is None:
            raise CollectionError("not now")
        return found


def test_health_asks_the_abilities_of_a_model_once_of_servers_of_any_age() -> None:
    shown: dict[str, Any] = {
        "a:1": {"capabilities": ["completion", "tools"]},
        "b:1": {"model_info": {"bert.pooling_type": 1}},
        "c:1": {"model_info": {"llama.context_length": 1}},
        "d:1": None,
    }
    client = Client(shown)
    states: list[OllamaState] = []
    health = Health(client, states.append, interval=1, with_abilities=True)  # type: ignore[arg-type]
    first = health._ask_state()
    assert dict(first.abilities) == {"a:1": ("completion", "tools"), "b:1": ("embedding",), "c:1": ("completion",)}
    assert first.has(ModelName.parse("D:1").key), "an unknown model is still there"
    shown["d:1"] = {"capabilities": ["embedding"]}
    client.asked.clear()
    assert dict(health._ask_state().abilities)["d:1"] == ("embedding",)
    assert client.asked == ["d:1"]
    del shown["a:1"]
    assert "a:1" not in dict(health._ask_state().abilities)


class Odd:
    """An Ollama that answers with what it is given, or raises it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def tags(self, *, call: Any) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def show(self, model: str, *, call: Any) -> Any:
        return self.answer


@pytest.mark.parametrize(
    "answer, up",
    [
        ({"models": 5}, False),
        ({"models": "x"}, False),
        ({"models": {"name": "a"}}, False),
        ({"models": None}, True),
        ({"models": []}, True),
        ({}, True),
        ([], False),
        (None, False),
        (
            {
                "models": [
                    None,
                    1,
                    "a",
                    [],
                    {},
                    {"name": None},
                    {"name": {"a": 1}},
                    {"name": "\ud800"},
                    {"name": "x" * 999},
                ]
            },
            True,
        ),
        ({"models": [{"name": "a", "digest": {"b": []}}, {"name": "a", "digest": 1}]}, True),
        ({"models": [{"name": f"m{number}"} for number in range(20_000)]}, True),
        (RecursionError("deep"), False),
        (UnicodeEncodeError("latin-1", "€", 0, 1, "ordinal not in range"), False),
        (ServerUnreachableError("No connection"), False),
    ],
)
@pytest.mark.parametrize("with_abilities", [False, True])
def test_health_odd_list_of_models_is_a_state(answer: Any, up: bool, with_abilities: bool) -> None:
    states: list[OllamaState] = []
    health = Health(Odd(answer), states.append, interval=1, with_abilities=with_abilities)  # type: ignore[arg-type]
    health._look()
    assert [state.up for state in states] == [up]
    assert states[0].up or states[0].reason
    assert states[0].reason.isprintable()
    assert len(states[0].models) <= 10_000


@pytest.mark.parametrize(
    "shown", [None, 5, [], {}, {"capabilities": 5}, {"capabilities": [[], None, "\ud800"]}, {"model_info": 5}]
)
def test_health_odd_abilities_are_a_state(shown: Any) -> None:
    client = Odd({"models": [{"name": "a"}]})
    client.show = lambda model, *, call: shown  # type: ignore[method-assign]
    states: list[OllamaState] = []
    Health(client, states.append, interval=1, with_abilities=True)._look()  # type: ignore[arg-type]
    assert len(states) == 1


def test_health_out_of_descriptors_is_not_ollamas_fault_and_lets_idle_connections_go() -> None:
    failure = ServerUnreachableError("No connection to http://127.0.0.1:11434: Too many open files")
    failure.__cause__ = OSError(errno.EMFILE, "Too many open files")
    closed: list[bool] = []
    states: list[OllamaState] = []
    health = Health(Odd(failure), states.append, interval=1, close_idle=lambda: closed.append(True))  # type: ignore[arg-type]
    health._look()
    health.suspect(failure)
    assert len(closed) == 2
    assert states[-1].why_down.startswith("The worker cannot ask Ollama: This process may not open more files")
    assert "Ollama is down" not in states[-1].why_down


def test_still_has_of_a_removed_model_changes_the_state_before_the_return_and_asks_once() -> None:
    client = Client({"a:1": {}, "b:1": {}})
    lists: list[int] = []
    tags = client.tags
    client.tags = lambda *, call: lists.append(1) or tags(call=call)  # type: ignore[func-returns-value, method-assign]
    states: list[OllamaState] = []
    health = Health(client, states.append, interval=1)  # type: ignore[arg-type]
    health._look()
    removed, kept = ModelName.parse("a:1").key, ModelName.parse("b:1").key
    assert health.still_has(removed) and len(lists) == 2
    del client.shown["a:1"]
    assert not health.still_has(removed)
    assert not states[-1].has(removed) and states[-1].has(kept)
    assert not health.still_has(removed) and len(lists) == 3, "the second request of the model asks nothing"


def test_still_has_with_an_ollama_that_is_down_meanwhile_has_not() -> None:
    states: list[OllamaState] = []
    let_down = threading.Event()
    health = down_then_up(states, let_down)
    health._look()
    let_down.set()
    assert not health.still_has(ModelName.parse("a:1").key)
    assert not states[-1].up


def down_then_up(states: list[OllamaState], let_down: threading.Event) -> Health:
    """Watch an Ollama that is up until an event is set, and the states that the watch reports."""

    class Client:
        def tags(self, *, call: Any) -> dict[str, Any]:
            if let_down.is_set():
                raise ServerUnreachableError("No connection")
            return {"models": [{"name": "a:1", "digest": "d"}]}

        def show(self, model: str, *, call: Any) -> dict[str, Any]:
            return {"capabilities": ["completion"]}

    return Health(Client(), states.append, interval=600.0)  # type: ignore[arg-type]


def wait_until(done: Callable[[], object]) -> None:
    ends = time.monotonic() + 60
    while not done():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_health_looks_at_once_and_again_when_a_request_suspects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet_worker.inference.health.INTERVAL_DOWN", 0.01)
    states: list[OllamaState] = []
    let_down = threading.Event()
    watched = down_then_up(states, let_down)
    watched.start()
    assert watched.wait(60), "the first look does not wait for the interval"
    let_down.set()
    watched.suspect(ServerUnreachableError("cut"))
    assert not watched.wait(0.05)
    let_down.clear()
    assert watched.wait(60)
    wait_until(lambda: len(states) > 2 and states[-1].up)
    assert [state.up for state in (states[0], states[1], states[-1])] == [True, False, True]
    watched.ask_abilities()
    wait_until(lambda: states[-1].abilities)
    assert states[-1].abilities == (("a:1", ("completion",)),)
    # A worker that had automatic lanes before needs the same abilities again.
    known = len(states)
    watched.ask_abilities()
    wait_until(lambda: len(states) > known)
    assert states[-1].abilities == (("a:1", ("completion",)),)
    watched.stop()


def test_health_that_stops_lets_who_waits_go_on_and_says_no_more() -> None:
    states: list[OllamaState] = []
    let_down = threading.Event()
    let_down.set()
    watched = down_then_up(states, let_down)
    waited: list[bool] = []
    waiter = threading.Thread(target=lambda: waited.append(watched.wait(60)))
    waiter.start()
    watched.stop()
    waiter.join(60)
    assert waited == [False]
    watched.suspect(ServerUnreachableError("cut"))
    assert not states


def test_health_with_more_abilities_than_fit_a_look_asks_the_rest_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client({"a:1": {"capabilities": ["completion"]}})
    health = Health(client, lambda _state: None, interval=1, with_abilities=True)  # type: ignore[arg-type]
    monkeypatch.setattr("fleet_worker.inference.health.ABILITIES_TIMEOUT", -1.0)
    assert health._ask_state().abilities == ()
    monkeypatch.undo()
    assert dict(health._ask_state().abilities) == {"a:1": ("completion",)}
