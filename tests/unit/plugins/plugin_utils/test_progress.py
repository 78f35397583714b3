# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.plugin_utils._progress import ProgressAction, duration, line

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
def test_line_without_progress_is_empty(state: dict[str, Any]) -> None:
    assert line("gpu-01", state) == ""


def test_a_target_cannot_steer_the_terminal() -> None:
    shown = line("gpu-01", {**STATE, "model": "\x1b[2Jevil\r\nok: [gpu-02]\x07"})
    assert shown.isprintable() and "evilok" in shown.replace("[2J", "")


@pytest.mark.parametrize("seconds, text", [(59, "59 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")])
def test_durations(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def on_this_machine(environment: Any = None) -> ProgressAction:
    """An action whose target is this machine."""
    action = ProgressAction.__new__(ProgressAction)
    action._task = SimpleNamespace(environment=environment)

    def execute(command: str) -> dict[str, str]:
        return {"stdout": subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True).stdout}

    action._low_level_execute_command = execute
    return action


def test_first_own_file_is_read(tmp_path: Path) -> None:
    for name in ("second", "third"):
        (tmp_path / name).write_text(name)
    paths = [shlex.quote(str(tmp_path / name)) for name in ("first", "second", "third")]
    assert on_this_machine().read(paths) == "second"
    assert on_this_machine().read(paths[:1]) == ""


def test_file_of_another_user_is_not_read(tmp_path: Path) -> None:
    path = Path("/etc/passwd")
    if os.geteuid() == 0:
        path = tmp_path / "false"
        path.write_text("not ours")
        os.chown(path, 65534, 65534)
    assert path.read_text()
    assert on_this_machine().read([str(path)]) == ""


@pytest.mark.parametrize("before", [None, {"HTTP_PROXY": "p"}, [{"HTTP_PROXY": "p"}, {"A": "b"}]])
def test_environment_of_the_task_is_the_same_afterwards(before: Any) -> None:
    action = on_this_machine(before)
    with action._in_environment({"NAME": "value"}):
        assert action._task.environment[-1] == {"NAME": "value"}
        assert action._task.environment[:-1] == (before if isinstance(before, list) else [before])
    assert action._task.environment is before
