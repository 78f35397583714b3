# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's package, as its process finds it, and a broker and a systemd for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "roles" / "fleet_gateway" / "files"))

from .memory_broker import MemoryBroker, stand_in
from .memory_systemd import Systemd


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """A broker in memory."""
    return stand_in(monkeypatch)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    """systemd, which keeps sockets."""
    made = Systemd(tmp_path, monkeypatch)
    yield made
    made.close()
