# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run in the process of the test, against an Ollama in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._module import (
    ollama_s3_file,
    ollama_s3_info,
    ollama_s3_publish,
    s3_options,
)

from .._fleet.memory_broker import MemoryBroker
from ..memory_mirror import MemoryMirror
from .memory_ollama import MemoryOllama, served


@pytest.fixture
def ollama() -> Iterator[MemoryOllama]:
    """An Ollama without models."""
    with served() as server:
        yield server


@pytest.fixture
def memory_mirror(monkeypatch: pytest.MonkeyPatch) -> MemoryMirror:
    """An empty mirror, which the modules have whatever settings they are given."""
    mirror = MemoryMirror()
    for module in (s3_options, ollama_s3_file, ollama_s3_info, ollama_s3_publish):
        monkeypatch.setattr(module, "Mirror", lambda _settings, **_options: mirror)
    return mirror


@pytest.fixture
def memory_broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """A broker that confirms everything and answers nothing."""
    broker = MemoryBroker()
    broker.install(monkeypatch)
    return broker
