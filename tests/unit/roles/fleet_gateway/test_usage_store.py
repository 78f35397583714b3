# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was used is counted, and survives."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timezone
from pathlib import Path

import pytest
from fleet_gateway.observe.usage_store import UsageStore, read_usage


def test_add_counts_by_day_key_and_model(tmp_path: Path) -> None:
    store = UsageStore(str(tmp_path))
    store.add("alice", "m:1", 3, 2, estimated=False)
    store.add("alice", "m:1", 30, 20, estimated=True)
    store.add("bob", "m:1", 1, 0, estimated=False)
    # Read beside a gateway that runs, and never closed as one that is killed.
    today = datetime.now(timezone.utc).date().isoformat()
    row = {"day": today, "key": "alice", "model": "m:1", "requests": 2, "input_tokens": 33, "output_tokens": 22}
    assert read_usage(str(tmp_path))[0] == {**row, "estimated": 1}
    assert store.tokens_today("alice") == 55
    again = UsageStore(str(tmp_path))
    assert (again.tokens_today("alice"), again.tokens_today("bob"), again.tokens_today("carol")) == (55, 1, 0)
    assert read_usage(str(tmp_path), "2999-01-01") == []


def test_read_usage_without_a_file_raises(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        read_usage(str(tmp_path))
