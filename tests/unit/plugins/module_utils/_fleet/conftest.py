# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A broker in memory."""

from __future__ import annotations

import pytest

from .memory_broker import MemoryBroker


@pytest.fixture
def memory_broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """A broker that confirms everything and answers nothing."""
    broker = MemoryBroker()
    broker.install(monkeypatch)
    return broker
