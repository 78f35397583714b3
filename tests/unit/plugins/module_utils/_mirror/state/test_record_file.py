# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of findings in the workspace: what is read back, and what is ignored."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.record_file import (
    FORMAT,
    read_records,
    write_records,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import (
    Directory,
    DirectoryError,
    Ownership,
)

OURS = Ownership(None, None, 0o600, 0o700)
FILE, KIND = "found.json", "things"


@pytest.fixture
def workspace(tmp_path):
    with Directory.open(str(tmp_path)) as opened:
        yield opened


def write(workspace, records):
    write_records(workspace, FILE, KIND, records, OURS)


def test_records_that_were_written_are_read_in_the_order_of_their_keys(workspace, tmp_path):
    write(workspace, {"b": [2], "a": {"x": None}})
    assert list(read_records(workspace, FILE, KIND).items()) == [("a", {"x": None}), ("b", [2])]
    assert os.listdir(tmp_path) == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    write(workspace, {})
    assert read_records(workspace, FILE, KIND) == {}


def test_records_of_another_kind_or_file_are_not_read(workspace):
    write(workspace, {"a": 1})
    assert read_records(workspace, FILE, "others") == {}
    assert read_records(workspace, "other.json", KIND) == {}
    assert read_records(None, FILE, KIND) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"null",
        b"5",
        b'"format"',
        b"[1]",
        b"{}",
        json.dumps({"format": FORMAT}).encode(),
        json.dumps({KIND: {"a": 1}}).encode(),
        json.dumps({"format": FORMAT + 1, KIND: {"a": 1}}).encode(),
        json.dumps({"format": FORMAT, KIND: [1]}).encode(),
        json.dumps({"format": FORMAT, KIND: "a"}).encode(),
        json.dumps({"format": FORMAT, KIND: {"a": 1}}).encode()[:-1],
        b"[" * 100_000,
    ],
)
def test_read_file_with_other_content_has_no_records(workspace, tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    assert read_records(workspace, FILE, KIND) == {}
    write(workspace, {"a": 1})
    assert read_records(workspace, FILE, KIND) == {"a": 1}


def test_write_temporary_file_that_is_always_removed_ends_with_an_error(workspace, tmp_path, monkeypatch):
    """The process that holds the lock of the store removes temporary files, but not five times in a row."""
    put, attempts = Directory.write, []

    def write_and_lose(directory, name, content, ownership):
        attempts.append(name)
        put(directory, name, content, ownership)
        directory.remove(name)

    monkeypatch.setattr(Directory, "write", write_and_lose)
    with pytest.raises(DirectoryError):
        write(workspace, {"a": 1})
    assert len(set(attempts)) == len(attempts) == 5
    assert os.listdir(tmp_path) == []


def test_write_other_error_is_not_tried_again(workspace, monkeypatch):
    attempts = []

    def refuse(_directory, name, _content, _ownership):
        attempts.append(name)
        raise DirectoryError("it is full") from OSError(28, "No space left on device")

    monkeypatch.setattr(Directory, "write", refuse)
    with pytest.raises(DirectoryError, match="it is full"):
        write(workspace, {"a": 1})
    assert len(attempts) == 1
