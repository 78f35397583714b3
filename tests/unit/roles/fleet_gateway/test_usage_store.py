# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was used is counted, and survives."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timezone
from pathlib import Path

import pytest
from fleet_gateway.observe import usage_store
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


def fill(store: UsageStore) -> None:
    """Leave no room for another page in the file."""
    store._database.execute("PRAGMA max_page_count=1")


def test_add_on_a_full_disk_counts_in_memory_and_writes_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    models = [letter * 5000 for letter in "abc"]  # each row needs a page of its own
    store = UsageStore(str(tmp_path))
    store.add("alice", models[0], 1, 1, estimated=False)
    fill(store)
    for _number in range(2):
        store.add("alice", models[1], 10, 5, estimated=True)
        store.add("bob", models[2], 3, 4, estimated=False)
    assert (store.tokens_today("alice"), store.tokens_today("bob")) == (32, 14)
    assert len(read_usage(str(tmp_path))) == 1
    assert [record.message for record in caplog.records] == ["usage_not_written"]
    store._database.execute("PRAGMA max_page_count=1000")
    store.add("alice", models[0], 1, 1, estimated=False)
    rows = {row["model"][0]: row for row in read_usage(str(tmp_path))}
    assert [rows[letter]["requests"] for letter in "abc"] == [2, 2, 2]
    assert (rows["b"]["input_tokens"], rows["b"]["output_tokens"], rows["b"]["estimated"]) == (20, 10, 2)
    assert [record.message for record in caplog.records] == ["usage_not_written", "usage_written"]
    assert UsageStore(str(tmp_path)).tokens_today("alice") == store.tokens_today("alice") == 34


def test_add_to_a_locked_file_does_not_wait_long_and_close_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_store, "SHORT_PATIENCE", 0.01)
    store = UsageStore(str(tmp_path))
    other = sqlite3.connect(tmp_path / usage_store.FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.add("alice", "m:1", 3, 2, estimated=False)
    assert store.tokens_today("alice") == 5 and read_usage(str(tmp_path)) == []
    other.execute("ROLLBACK")
    store.close()
    assert read_usage(str(tmp_path))[0]["output_tokens"] == 2


def test_row_that_no_file_can_have_harms_only_itself(tmp_path: Path) -> None:
    store = UsageStore(str(tmp_path))
    store.add("alice", "m:1", 10**19, 1, estimated=False)
    store.add("alice", "x\ud800", 1, 1, estimated=False)
    store.add("bob", "m:1", 3, 2, estimated=False)
    store.close()
    assert [(row["key"], row["input_tokens"]) for row in read_usage(str(tmp_path))] == [("bob", 3)]


def test_new_day_whose_file_cannot_be_read_begins_at_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = UsageStore(str(tmp_path))
    store.add("alice", "m:1", 3, 2, estimated=False)
    store._database.execute("DROP TABLE usage")
    monkeypatch.setattr(usage_store, "_day", lambda: "2999-01-01")
    assert store.tokens_today("alice") == 0
    store.add("alice", "m:1", 1, 1, estimated=False)
    assert store.tokens_today("alice") == 2


def test_folder_that_takes_no_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        UsageStore(str(tmp_path / "nowhere"))


def test_read_usage_without_a_file_raises(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        read_usage(str(tmp_path))
