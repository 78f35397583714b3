# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.verification_records import (
    VerificationRecords,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import Directory, Ownership

OURS = Ownership(None, None, 0o600, 0o700)
DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


@pytest.fixture
def workspace(tmp_path):
    with Directory.open(str(tmp_path)) as opened:
        yield opened


@pytest.fixture
def blob(tmp_path):
    path = tmp_path / DIGEST.replace(":", "-")
    path.write_bytes(b"content")
    return path


def save(records, workspace, *digests):
    records.save(workspace, [digest.replace(":", "-") for digest in digests], OURS)


def test_records_verified_blob_is_known_in_the_next_run(workspace, blob):
    records = VerificationRecords(workspace)
    assert not records.knows(DIGEST, blob.stat())
    records.note(DIGEST, blob.stat())
    assert records.knows(DIGEST, blob.stat())
    assert records.outdated
    save(records, workspace, DIGEST)
    again = VerificationRecords(workspace)
    assert again.knows(DIGEST, blob.stat())
    again.note(DIGEST, blob.stat())
    assert not again.outdated


@pytest.mark.parametrize("touch", ["content", "time", "mode", "replaced"])
def test_records_touched_file_is_not_known(workspace, blob, tmp_path, touch):
    records = VerificationRecords(workspace)
    records.note(DIGEST, blob.stat())
    time.sleep(0.02)  # the clock of a file system of old goes in steps of up to 10 ms
    if touch == "content":
        blob.write_bytes(b"CONTENT")
    elif touch == "time":
        os.utime(blob, (1, 1))
    elif touch == "mode":
        blob.chmod(0o640)
    else:
        (tmp_path / "new").write_bytes(b"content")
        os.utime(tmp_path / "new", ns=(blob.stat().st_atime_ns, blob.stat().st_mtime_ns))
        os.replace(tmp_path / "new", blob)
    assert not records.knows(DIGEST, blob.stat())


def test_records_other_device_number_is_ignored(workspace, blob):
    """After a reboot it has another number on NFS, btrfs and overlay file systems."""
    fields = ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev")
    state = SimpleNamespace(**{name: getattr(blob.stat(), name) for name in fields})
    records = VerificationRecords(workspace)
    records.note(DIGEST, state)
    state.st_dev += 1
    assert records.knows(DIGEST, state)


def test_save_records_of_others_stay_and_those_of_missing_files_go(workspace, blob):
    first, second = VerificationRecords(workspace), VerificationRecords(workspace)
    first.note(DIGEST, blob.stat())
    second.note(OTHER, blob.stat())
    save(first, workspace, DIGEST, OTHER)
    save(second, workspace, DIGEST, OTHER)
    assert VerificationRecords(workspace).knows(DIGEST, blob.stat())
    assert VerificationRecords(workspace).knows(OTHER, blob.stat())
    third = VerificationRecords(workspace)
    third.note(OTHER, blob.stat())
    save(third, workspace, OTHER)
    assert not VerificationRecords(workspace).knows(DIGEST, blob.stat())


def test_records_of_earlier_runs_can_be_ignored(workspace, blob):
    records = VerificationRecords(workspace)
    records.note(DIGEST, blob.stat())
    save(records, workspace, DIGEST)
    doubting = VerificationRecords(workspace, believe=False)
    assert not doubting.knows(DIGEST, blob.stat())
    doubting.note(DIGEST, blob.stat())
    assert doubting.knows(DIGEST, blob.stat())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"[]",
        b"{}",
        b'{"format": 2, "blobs": {}}',
        b'{"format": 1, "blobs": []}',
        b'{"format": 1, "blobs": {"x": [1, 2, 3]}}',
        b'{"format": 1, "blobs": {"x": [1, 2, 3, "4"]}}',
        b'{"format": 1, "blobs": {"x": 5}}',
        b"[" * 100_000,
    ],
)
def test_records_damaged_file_is_no_record(workspace, blob, tmp_path, content):
    (tmp_path / "verified.json").write_bytes(content)
    records = VerificationRecords(workspace)
    assert not records.knows(DIGEST, blob.stat())
    records.note(DIGEST, blob.stat())
    save(records, workspace, DIGEST)
    assert VerificationRecords(workspace).knows(DIGEST, blob.stat())
    assert json.loads((tmp_path / "verified.json").read_text())["format"] == 1
    assert sorted(os.listdir(tmp_path)) == [DIGEST.replace(":", "-"), "verified.json"]


def test_save_while_another_process_removes_temporary_files_writes_them_again(workspace, blob, monkeypatch):
    """An import that holds the lock of the store removes the files that killed processes left."""
    write, left = Directory.write, [2]

    def write_and_lose(directory, name, content, ownership):
        write(directory, name, content, ownership)
        if left[0]:
            left[0] -= 1
            directory.remove(name)

    monkeypatch.setattr(Directory, "write", write_and_lose)
    records = VerificationRecords(workspace)
    records.note(DIGEST, blob.stat())
    save(records, workspace, DIGEST)
    assert VerificationRecords(workspace).knows(DIGEST, blob.stat())


def test_records_without_a_directory_are_empty(blob):
    assert not VerificationRecords(None).knows(DIGEST, blob.stat())
