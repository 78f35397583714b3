# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Ollama is, and what its models can."""

from __future__ import annotations

import errno
from typing import Any

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


def test_what_a_model_can_is_asked_once_and_told_by_older_servers_too() -> None:
    shown: dict[str, Any] = {
        "a:1": {"capabilities": ["completion", "tools"]},
        "b:1": {"model_info": {"bert.pooling_type": 1}},
        "c:1": {"model_info": {"llama.context_length": 1}},
        "d:1": None,
    }
    client = Client(shown)
    states: list[OllamaState] = []
    health = Health(client, states.append, interval=1, with_abilities=True)  # type: ignore[arg-type]
    first = health._ask()
    assert dict(first.abilities) == {"a:1": ("completion", "tools"), "b:1": ("embedding",), "c:1": ("completion",)}
    assert first.has(ModelName.parse("D:1").key), "what is not known yet is there all the same"
    shown["d:1"] = {"capabilities": ["embedding"]}
    client.asked.clear()
    assert dict(health._ask().abilities)["d:1"] == ("embedding",)
    assert client.asked == ["d:1"]
    del shown["a:1"]
    assert "a:1" not in dict(health._ask().abilities)


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
    health._round()
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
    Health(client, states.append, interval=1, with_abilities=True)._round()  # type: ignore[arg-type]
    assert len(states) == 1


def test_health_out_of_descriptors_is_not_ollamas_fault_and_lets_idle_connections_go() -> None:
    failure = ServerUnreachableError("No connection to http://127.0.0.1:11434: Too many open files")
    failure.__cause__ = OSError(errno.EMFILE, "Too many open files")
    let_go: list[bool] = []
    states: list[OllamaState] = []
    health = Health(Odd(failure), states.append, interval=1, let_go=lambda: let_go.append(True))  # type: ignore[arg-type]
    health._round()
    health.suspect(failure)
    assert len(let_go) == 2
    assert states[-1].why_down.startswith("The worker cannot ask Ollama: This process may not open more files")
    assert "Ollama is down" not in states[-1].why_down
