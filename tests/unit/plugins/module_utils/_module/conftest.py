# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run in the process of the test, against an Ollama in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .memory_ollama import MemoryOllama, served


@pytest.fixture
def ollama() -> Iterator[MemoryOllama]:
    """An Ollama without models."""
    with served() as server:
        yield server
