# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Ollama is, and what its models can."""

from __future__ import annotations

from typing import Any

from fleet_worker._ollama.errors import CollectionError
from fleet_worker.health import Health, State


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
    states: list[State] = []
    health = Health(client, states.append, interval=1, with_abilities=True)  # type: ignore[arg-type]
    first = health._ask()
    assert dict(first.abilities) == {"a:1": ("completion", "tools"), "b:1": ("embedding",), "c:1": ("completion",)}
    assert first.has("d:1"), "what is not known yet is there all the same"
    shown["d:1"] = {"capabilities": ["embedding"]}
    client.asked.clear()
    assert dict(health._ask().abilities)["d:1"] == ("embedding",)
    assert client.asked == ["d:1"]
    del shown["a:1"]
    assert "a:1" not in dict(health._ask().abilities)
