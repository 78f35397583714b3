# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program in docs/fleet.md, and the play of the first tutorial, word for word."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from fleet_parts import CHAT_MODEL, WorkerProcess

DOCS = Path(__file__).resolve().parents[3] / "docs"
GUIDE = DOCS / "fleet.md"
TUTORIAL = DOCS / "tutorial-one-node.md"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 1
    path = tmp_path / "ask.py"
    path.write_text(blocks[0])
    return path


def run(program: Path, broker: Any, prompt: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(program), broker.amqp_url, CHAT_MODEL, prompt]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=150)


def test_guide_program_shows_the_answer(
    program: Path, clean_broker: Any, ollama: Any, start: Callable[..., WorkerProcess]
) -> None:
    start(clean_broker, ollama.url, lanes=[{"type": "generate", "model": CHAT_MODEL}]).wait_ready()
    done = run(program, clean_broker, "The capital of France is")
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert re.match(r"gpu-01: \d+ tokens in [\d.]+ s, StreamSummary\(deltas=[1-9]\d*, missing=0, ", last)


def test_guide_program_reports_an_error(program: Path, clean_broker: Any) -> None:
    done = run(program, clean_broker, "Hello")
    assert done.returncode == 1
    assert "no_fleet_queue: No queue takes a request" in done.stderr
    assert "Traceback" not in done.stderr


def test_tutorial_play_shows_the_answer(
    tmp_path: Path, clean_broker: Any, ollama: Any, start: Callable[..., WorkerProcess]
) -> None:
    start(clean_broker, ollama.url, lanes=[{"type": "chat", "model": CHAT_MODEL}]).wait_ready()
    (written,) = re.findall(r"```yaml\n(# ask\.yml\n.*?)```", TUTORIAL.read_text(), re.DOTALL)
    # The broker of the tests is at another address, with another user.
    for theirs, ours in {
        "broker_host: gpu-01": f"broker_url: {clean_broker.amqp_url}",
        "        broker_username: requester\n": "",
        '        broker_password: "{{ verify_fleet_broker_password }}"\n': "",
    }.items():
        assert theirs in written
        written = written.replace(theirs, ours)
    (tmp_path / "ask.yml").write_text(written)
    command = ["ansible-playbook", "ask.yml", "-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"gpu-01: .*Paris", done.stdout), done.stdout
