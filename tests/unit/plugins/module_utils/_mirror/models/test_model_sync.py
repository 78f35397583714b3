# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Syncs to a server in memory whose store is a directory: what goes through the API, and what must agree."""

from __future__ import annotations

import errno
import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models import server_destination
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_sync import ModelSync, ServerAccess
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.plan import ADD, KEEP, REPLACE
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.server_destination import (
    NotItsStoreError,
    StoreOutOfReachError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.api_errors import ApiError, ConnectionLostError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.retry import RetryPolicy
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import NotPermittedError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings

NAME = ModelName.parse("llama3")
POLICY = RetryPolicy(retries=2, base=0.0)


@pytest.fixture
def sync(memory_mirror, memory_server):
    """Make a sync of the model to a server, with the directory as its store."""
    opened = []

    def make(server=memory_server, path=None, **options):
        store = Store(StoreSettings(str(path or memory_server.path)))
        opened.append(store)
        return ModelSync(memory_mirror, store, [NAME], ServerAccess(server, server, POLICY), **options)

    yield make
    for store in opened:
        store.close()


def refused(kind, message="no"):
    return kind(message, remedy="Try again")


def test_sync_empty_server_gets_blobs_by_its_api_and_the_manifest_as_a_file(sync, memory_mirror, memory_server):
    raw = memory_mirror.put(NAME.full, b"weights", b"template", b"")
    made = sync()
    assert {blob.action for blob in made.plan().blobs} == {ADD}
    assert made.apply().changed
    assert sorted(made.report.pushed) == sorted(digest_of(part) for part in (b"weights", b"template", b""))
    assert memory_server.file(digest_of(b"weights")).read_bytes() == b"weights"
    assert memory_server.tags() == {"models": [{"name": NAME.short, "digest": digest_of(raw)}]}
    assert not sync().plan().changed


@pytest.fixture
def barred_blobs(memory_server, monkeypatch):
    """Let nobody but the server create or remove files in the directory of the blobs."""
    blobs = os.stat(memory_server.path / "blobs")
    real_open, replace, unlink = os.open, os.replace, os.unlink

    def refuse(directory):
        if directory is not None and os.path.samestat(os.fstat(directory), blobs):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def guarded_open(name, flags, *arguments, dir_fd=None, **options):
        if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            refuse(dir_fd)
        return real_open(name, flags, *arguments, dir_fd=dir_fd, **options)

    def guarded_replace(source, target, *, src_dir_fd=None, dst_dir_fd=None):
        refuse(src_dir_fd)
        refuse(dst_dir_fd)
        replace(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def guarded_unlink(name, *, dir_fd=None):
        refuse(dir_fd)
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", guarded_open)
    monkeypatch.setattr(os, "replace", guarded_replace)
    monkeypatch.setattr(os, "unlink", guarded_unlink)


def test_sync_user_who_may_not_write_blobs_gets_them_by_the_api(sync, memory_mirror, memory_server, barred_blobs):
    raw = memory_mirror.put(NAME.full, b"weights", b"template")
    made = sync()
    made.apply()
    assert len(made.report.pushed) == 2
    assert memory_server.tags() == {"models": [{"name": NAME.short, "digest": digest_of(raw)}]}
    assert not sync().plan().changed


def test_sync_by_a_user_who_may_not_remove_old_blobs_names_who_may(sync, memory_mirror, memory_server, barred_blobs):
    memory_mirror.put(NAME.full, b"old", b"older")
    sync().apply()
    raw = memory_mirror.put(NAME.full, b"new")
    made = sync()
    made.apply()
    assert memory_server.tags() == {"models": [{"name": NAME.short, "digest": digest_of(raw)}]}
    assert memory_server.file(digest_of(b"old")).exists()
    (warning,) = made.report.removal.warnings
    assert warning.startswith("2 blobs that no manifest names any more are kept") and "has no permission" in warning
    assert not sync().plan().changed


def watched_syncs(monkeypatch):
    """Return a list that gets the inode of each synced file, and the new name of each renamed file."""
    told, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        fsync(descriptor)
        told.append(os.fstat(descriptor).st_ino)

    def moved(source, target, **directories):
        replace(source, target, **directories)
        told.append(target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    return told


def test_sync_blobs_are_on_the_disk_before_the_manifest(sync, memory_mirror, memory_server, monkeypatch):
    old, new = b"uploaded by a killed sync", b"weights"
    memory_mirror.put(NAME.full, old, new)
    memory_server.file(digest_of(old)).write_bytes(old)
    told = watched_syncs(monkeypatch)
    sync().apply()
    before = told[: told.index(NAME.tag)]
    assert {os.stat(memory_server.file(digest_of(content))).st_ino for content in (old, new)} <= set(before)
    assert os.stat(memory_server.path / "blobs").st_ino in before


def test_sync_blob_that_only_the_server_may_read_is_unverified(sync, memory_mirror, memory_server, monkeypatch):
    raw = memory_mirror.put(NAME.full, b"weights", b"new")
    memory_server.file(digest_of(b"weights")).write_bytes(b"weights")

    def refuse(store, digest):
        raise NotPermittedError(f"Could not read {digest}")

    monkeypatch.setattr(Store, "open_blob", refuse)
    made = sync()
    made.apply()
    assert made.report.unverified == [digest_of(b"weights")]
    assert memory_server.tags() == {"models": [{"name": NAME.short, "digest": digest_of(raw)}]}
    assert digest_of(b"weights") not in (memory_server.path / ".legionio-ollama/verified.json").read_text()


def test_sync_damaged_blob_is_replaced_on_the_disk(sync, memory_mirror, memory_server):
    memory_mirror.put(NAME.full, b"weights", b"template")
    sync().apply()
    memory_server.file(digest_of(b"weights")).write_bytes(b"wEights")
    made = sync()
    plan = made.apply()
    assert {blob.digest for blob in plan.blobs if blob.action == REPLACE} == {digest_of(b"weights")}
    assert made.report.pushed == []
    assert memory_server.file(digest_of(b"weights")).read_bytes() == b"weights"


def test_sync_link_in_place_of_a_blob_is_replaced(sync, memory_mirror, memory_server, tmp_path):
    memory_mirror.put(NAME.full, b"weights")
    sync().apply()
    blob = memory_server.file(digest_of(b"weights"))
    blob.unlink()
    blob.mkdir()
    assert [change.reason for change in sync().plan().blobs] == ["it is not a regular file"]


def test_sync_upload_that_breaks_off_is_repeated(sync, memory_mirror, memory_server):
    memory_mirror.put(NAME.full, b"weights", b"template")
    memory_server.errors = [refused(ConnectionLostError)]
    made = sync()
    made.apply()
    assert len(made.report.pushed) == 2


def test_sync_upload_that_is_refused_is_a_failure_at_once(sync, memory_mirror, memory_server):
    memory_mirror.put(NAME.full, b"weights", b"template")
    memory_server.errors = [ApiError("no", status=400, server_message="no")]
    made = sync()
    with pytest.raises(ApiError) as caught:
        made.apply()
    assert caught.value.details["digest"] in {digest_of(b"weights"), digest_of(b"template")}
    assert made.report.failures == [caught.value]
    assert memory_server.tags() == {"models": []}


def test_sync_upload_that_always_breaks_off_is_a_failure_after_the_retries(sync, memory_mirror, memory_server):
    memory_mirror.put(NAME.full, b"weights")
    memory_server.errors = [refused(ConnectionLostError) for _try in range(POLICY.retries + 1)]
    with pytest.raises(ConnectionLostError):
        sync().apply()
    assert memory_server.errors == []


def test_sync_directory_of_another_server_is_refused_after_the_smallest_blob(
    sync, memory_mirror, memory_server, tmp_path, monkeypatch
):
    monkeypatch.setattr(server_destination, "SEEN_WITHIN", 0.0)
    memory_mirror.put(NAME.full, b"small", b"large" * 100)
    other = tmp_path / "other"
    for part in ("blobs", "manifests"):
        (other / part).mkdir(parents=True)
    made = sync(path=other)
    with pytest.raises(NotItsStoreError, match="the server has received the blob") as caught:
        made.apply()
    assert str(other) in caught.value.message
    assert [file.name for file in (memory_server.path / "blobs").iterdir()] == [digest_of(b"small").replace(":", "-")]


def test_sync_blob_that_only_the_directory_has_contradicts_the_server(sync, memory_mirror, memory_server, monkeypatch):
    memory_mirror.put(NAME.full, b"weights")
    sync().apply()
    monkeypatch.setattr(memory_server, "has_blob", lambda digest: False)
    with pytest.raises(NotItsStoreError, match="the directory has the blob"):
        sync().plan()


def test_sync_server_that_lists_another_digest_contradicts_the_directory(sync, memory_mirror, memory_server):
    memory_mirror.put(NAME.full, b"weights")
    sync().apply()
    memory_server.hidden = {NAME.short: digest_of(b"other")}
    with pytest.raises(NotItsStoreError, match="the server lists"):
        sync().plan()


def test_sync_server_that_does_not_list_the_model_afterwards_is_not_the_stores(
    sync, memory_mirror, memory_server, monkeypatch
):
    memory_mirror.put(NAME.full, b"weights")
    monkeypatch.setattr(memory_server, "tags", lambda: {"models": []})
    with pytest.raises(NotItsStoreError, match="does not list it"):
        sync().apply()


def test_sync_unchanged_model_that_the_server_does_not_list_is_an_error(
    sync, memory_mirror, memory_server, monkeypatch
):
    memory_mirror.put(NAME.full, b"weights")
    sync().apply()
    monkeypatch.setattr(memory_server, "tags", lambda: {"models": []})
    with pytest.raises(NotItsStoreError, match="does not list it"):
        sync().plan()


def test_sync_store_out_of_reach_is_planned_by_what_the_server_says(memory_mirror, memory_server):
    raw = memory_mirror.put(NAME.full, b"weights")
    memory_server.file(digest_of(b"weights")).write_bytes(b"weights")
    memory_server.hidden = {NAME.short: digest_of(raw)}
    store = Store.out_of_reach(StoreSettings("/far/models"), "it is on another machine")
    made = ModelSync(memory_mirror, store, [NAME], ServerAccess(memory_server, memory_server, POLICY))
    plan = made.plan()
    assert not plan.changed
    assert [blob.action for blob in plan.blobs] == [KEEP]
    assert made.report.unverified == [digest_of(b"weights")]
    assert made.where == "http://ollama.lab:11434 (/far/models)"


def test_sync_change_of_a_store_out_of_reach_is_refused(memory_mirror, memory_server):
    memory_mirror.put(NAME.full, b"weights")
    store = Store.out_of_reach(StoreSettings("/far/models"), "it is on another machine")
    made = ModelSync(memory_mirror, store, [NAME], ServerAccess(memory_server, memory_server, POLICY))
    with pytest.raises(StoreOutOfReachError, match="it is on another machine"):
        made.plan()


@pytest.mark.parametrize("barred", ["models", "manifests"])
def test_sync_directory_that_may_not_be_written_to_is_out_of_reach(
    sync, memory_mirror, memory_server, monkeypatch, barred
):
    memory_mirror.put(NAME.full, b"weights")
    access = os.access

    def refuse(path, mode, **options):
        return not str(path).endswith(barred) and access(path, mode, **options)

    monkeypatch.setattr(os, "access", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StoreOutOfReachError, match=f"may not write to .*{barred}"):
        sync().plan()


def test_sync_verified_blobs_are_remembered_for_the_next_run(sync, memory_mirror, memory_server):
    memory_mirror.put(NAME.full, b"weights")
    sync().apply()
    (memory_server.path / ".legionio-ollama/verified.json").unlink()
    made = sync()
    assert not made.plan().changed
    made.remember()
    assert digest_of(b"weights") in (memory_server.path / ".legionio-ollama/verified.json").read_text()
