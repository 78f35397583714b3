# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the mirror share."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings

from ..memory_mirror import MemoryMirror, MemoryServer


@pytest.fixture
def memory_mirror():
    """An empty mirror in memory."""
    return MemoryMirror()


@pytest.fixture
def memory_server(tmp_path):
    """An Ollama with an empty store."""
    path = tmp_path / "models"
    (path / "blobs").mkdir(parents=True)
    (path / "manifests").mkdir()
    return MemoryServer(path)


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    with Store(StoreSettings(str(tmp_path / "models"))) as opened:
        opened.prepare()
        yield opened
