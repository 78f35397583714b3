# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls in the background, as a user starts them: ansible-playbook with async, and a slow registry."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ollama as official
import pytest
import services
from registry import Registry
from server_play import play

NAME = "registry.example.com:5000/team/smollm2:135m"
PULL: dict[str, Any] = {"legionio.ollama.ollama_model": {"name": NAME, "insecure": True}, "register": "pull"}
AGAIN: list[dict[str, Any]] = [
    {**PULL, "async": 300, "poll": 1},
    {"ansible.builtin.assert": {"that": ["pull is not changed", "pull.actions == []"]}},
]


@pytest.fixture
def empty(registry: Registry) -> Iterator[services.OllamaServer]:
    """A server without models, whose registry needs five seconds at least for the model of 98 MB."""
    registry.rate = 20_000_000
    with services.ollama_server(env=registry.environment) as server:
        yield server
    registry.rate = None


def names(server: services.OllamaServer) -> list[str]:
    return [model.model or "" for model in official.Client(server.url).list().models]


def test_pull_in_the_background_waited_for_is_done_once(empty: services.OllamaServer, tmp_path: Path) -> None:
    tasks = [
        {**PULL, "async": 300, "poll": 1},
        {"ansible.builtin.assert": {"that": ["pull is changed", f"pull.actions == ['pull {NAME}']"]}},
        *AGAIN,
    ]
    done = play(tmp_path, tasks, empty.url, {})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "ASYNC POLL on localhost" in done.stdout + done.stderr
    assert names(empty) == [NAME]


def test_pull_polled_later_is_done_once(empty: services.OllamaServer, registry: Registry, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    registry.rate = 1_000_000  # longer than the tasks in between take, until they are done
    release = threading.Thread(target=_speed_up_after, args=(registry, seen), daemon=True)
    release.start()
    tasks: list[dict[str, Any]] = [
        {**PULL, "async": 600, "poll": 0},
        {"legionio.ollama.ollama_model_info": {}, "register": "meanwhile"},
        {"ansible.builtin.assert": {"that": ["meanwhile.models == []"]}},
        {"ansible.builtin.file": {"path": str(seen), "state": "touch"}},
        {
            "ansible.builtin.async_status": {"jid": "{{ pull.ansible_job_id }}"},
            "register": "job",
            "until": "job is finished",
            "retries": 600,
            "delay": 1,
        },
        {"ansible.builtin.assert": {"that": ["job is changed", f"job.model.full_name == '{NAME}'"]}},
        *AGAIN,
    ]
    done = play(tmp_path, tasks, empty.url, {})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    release.join(10)


def _speed_up_after(registry: Registry, file: Path) -> None:
    deadline = time.monotonic() + 300
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    registry.rate = None


def test_pull_beyond_its_async_limit_fails_and_the_next_run_completes_it(
    empty: services.OllamaServer, registry: Registry, tmp_path: Path
) -> None:
    """Ansible ends a job after its time; no incomplete model remains, and the next run completes the pull."""
    registry.rate = 2_000_000  # the whole would take 49 seconds
    done = play(tmp_path, [{**PULL, "async": 7, "poll": 1}], empty.url, {})
    assert done.returncode != 0 and "Traceback" not in done.stdout + done.stderr, done.stdout[-3000:]
    # The words of whoever looks first: the task that waits, or the one that watches over the job.
    output = done.stdout + done.stderr
    assert "did not complete within the requested time" in output or "Timeout exceeded" in output, done.stdout[-3000:]
    assert names(empty) == []
    registry.rate = None
    again = play(tmp_path, [PULL, *AGAIN], empty.url, {})
    assert again.returncode == 0, again.stdout[-3000:]
    assert names(empty) == [NAME]
