# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reload uses only the keys that need no restart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client")

from fleet_worker._fleet.lanes import NODE
from fleet_worker.process.service import Service
from fleet_worker.settings.config import Config, parse

CONTENT: dict[str, Any] = {
    "node": "gpu-01",
    "broker": {"addresses": ["127.0.0.1:1"]},
    "lanes": [{"type": "chat", "model": "m:1"}, {"type": "embed", "model": "e:1"}],
    "ollama": {"exclusive": False},
}


def config(**changes: Any) -> Config:
    return parse({**CONTENT, **changes})


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    (tmp_path / "broker-password").write_text("secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    made = Service(config(status_socket=str(tmp_path / "status")), "unread")
    with contextlib.closing(made._loop):
        yield made


def batches(service: Service) -> dict[str, int]:
    """The batch of each lane that is not the node's own."""
    return {lane.lane.model: lane.batch for lane in service._worker._board.lanes.values() if lane.lane.style != NODE}


@pytest.mark.parametrize("auto", [False, True])
def test_reload_leaves_the_keys_that_need_a_restart_even_with_the_first_automatic_lanes(
    service: Service, auto: bool
) -> None:
    before = batches(service)
    lanes = [*CONTENT["lanes"], {"type": "embed", "model": "f:1"}]
    automatic = {"auto_lanes": {}} if auto else {}
    service._take_over(config(lanes=lanes, embed_batch={"count": 3}, node="gpu-02", own_lanes=True, **automatic))
    assert batches(service) == {**before, "f:1": before["e:1"]}
    assert all(lane.lane.style != NODE for lane in service._worker._board.lanes.values())
