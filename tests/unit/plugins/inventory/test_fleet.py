# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The groups that the inventory plugin makes by default, from the events of nodes."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.registry import (
    AVAILABLE,
    DEGRADED,
    UNAVAILABLE,
    Offering,
)

CHAT = lane("chat", "smollm2:135m")
SHARED = lane("chat", "smollm2:135m", style="shared", context_window=4096)
EMBED = lane("embed", "all-minilm")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, list[str]]]:
    """Return the hosts of each group for events, each of a lane, a node and a kind."""

    def read(*events: tuple[Any, str, str]) -> dict[str, list[str]]:
        plugin = inventory_loader.get("legionio.ollama.fleet")
        module = sys.modules[type(plugin).__module__]

        def listen(_connection: Any, _bindings: Any, _seconds: float, hear: Callable[[Any], None]) -> None:
            for served, node, kind in events:
                hear(Offering(served, node, 1).event(kind).message)

        monkeypatch.setattr(module, "BrokerConnection", nullcontext)
        monkeypatch.setattr(module, "listen", listen)
        path = tmp_path / "fleet.yml"
        path.write_text("{plugin: legionio.ollama.fleet, broker_host: [hub], strict: true}")
        inventory = InventoryData()
        plugin.parse(inventory, DataLoader(), str(path), cache=False)
        return {name: sorted(host.name for host in group.hosts) for name, group in inventory.groups.items()}

    return read


def test_nodes_are_in_the_groups_of_the_lanes_that_they_serve(groups: Callable[..., dict[str, list[str]]]) -> None:
    found = groups(
        (CHAT, "gpu-01", AVAILABLE),
        (CHAT, "gpu-02", AVAILABLE),
        (SHARED, "gpu-02", AVAILABLE),
        (EMBED, "gpu-01", DEGRADED),
        (SHARED, "gpu-01", UNAVAILABLE),
    )
    assert {name: hosts for name, hosts in found.items() if name.startswith("lane_")} == {
        "lane_llm_request_ollama_chat_smollm2_135m": ["gpu-01", "gpu-02"],
        "lane_llm_fleet_inference_smollm2_135m_ctx4096": ["gpu-02"],
    }
    assert found["model_smollm2_135m"] == found["fleet"] == ["gpu-01", "gpu-02"]
    assert (found["state_degraded"], found["state_available"]) == (["gpu-01"], ["gpu-02"])


def test_node_without_a_served_lane_is_in_no_group_of_lanes(groups: Callable[..., dict[str, list[str]]]) -> None:
    found = groups((CHAT, "gpu-01", DEGRADED))
    assert (found["fleet"], [name for name in found if name.startswith("lane_")]) == (["gpu-01"], [])


def test_names_of_groups_are_valid_for_ansible(groups: Callable[..., dict[str, list[str]]]) -> None:
    found = groups((lane("chat", "hf.co/team/a-model:q4_K_M"), "gpu-01", AVAILABLE))
    assert [name for name in found if not name.isidentifier()] == []
    assert any(name.startswith("lane_") for name in found)
