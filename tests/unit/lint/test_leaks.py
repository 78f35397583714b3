# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs to one machine or person is found; what only looks like it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import leaks
import pytest


@pytest.mark.parametrize(
    "line",
    [
        "see /work/main/README.md",
        "cd /home/alice/src",
        "/Users/alice",
        "cat /root/notes.txt",
        "key: AKIAABCDEFGHIJKLMNOP",
        "token: ghp_" + "a" * 36,
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "index: https://user:secret@index.corp.net/simple",
    ],
)
def test_a_leak_is_found_with_its_line(plant: Callable[[dict[str, str]], Path], line: str) -> None:
    (found,) = leaks.offences(plant({"notes.md": f"first\n{line}\n"}))
    assert found.startswith("notes.md:2: ")


@pytest.mark.parametrize(
    "line",
    [
        "tests/work/main.py and framework/",
        "/home/user/.ollama and /home/you and /home/$USER",
        "/root/.ollama/models",
        "AKIAIOSFODNN7EXAMPLE",
        "amqps://user:password@hub.example.com and http://u:p@127.0.0.1:1 and https://{{ user }}:{{ password }}@host",
    ],
)
def test_harmless_text_passes(plant: Callable[[dict[str, str]], Path], line: str) -> None:
    assert list(leaks.offences(plant({"notes.md": line}))) == []
