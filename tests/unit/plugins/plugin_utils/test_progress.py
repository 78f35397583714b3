# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.plugin_utils._progress import duration, line

STATE = {"model": "llama3:8b", "step": "", "bytes": 1_240_000_000, "bytes_total": 4_660_000_000, "rate": 112_400_000}


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"seconds_left": 30}, "llama3:8b: 1.2 GB of 4.7 GB (26 %), 112 MB/s, 30 s left"),
        ({}, "llama3:8b: 1.2 GB of 4.7 GB (26 %), 112 MB/s"),
        ({"rate": 0}, "llama3:8b: 1.2 GB of 4.7 GB (26 %), nothing moves"),
        ({"rate": 0, "bytes": 0}, "llama3:8b: 0 B of 4.7 GB (0 %)"),
        ({"bytes": 4_660_000_000, "seconds_left": 0}, "llama3:8b: 4.7 GB of 4.7 GB (100 %)"),
        ({"step": "writing manifest"}, "llama3:8b: writing manifest"),
    ],
)
def test_a_line(changes: dict[str, Any], text: str) -> None:
    assert line("gpu-01", {**STATE, **changes}) == f"progress: [gpu-01] {text}"


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"model": "m"},
        {"model": "m", "bytes": "9", "bytes_total": "x"},
        {"bytes": -1, "bytes_total": -5},
        {"step": []},
    ],
)
def test_nothing_to_tell(state: dict[str, Any]) -> None:
    assert line("gpu-01", state) == ""


def test_a_target_cannot_steer_the_terminal() -> None:
    shown = line("gpu-01", {**STATE, "model": "\x1b[2Jevil\r\nok: [gpu-02]\x07"})
    assert shown.isprintable() and "evilok" in shown.replace("[2J", "")


@pytest.mark.parametrize("seconds, text", [(59, "59 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")])
def test_durations(seconds: int, text: str) -> None:
    assert duration(seconds) == text
