# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The execution of an import: the order of writes, vanishing blobs, failures, and what is left behind."""

from __future__ import annotations

import os
import time

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import ObjectMissingError, WrongDigestError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models import import_run
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.import_run import ImportRun, StoreRaceError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_import import ModelImport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.lock import LockWait, exclusive
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer import partial_file
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import blob_file_name, digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import DiskFullError, OwnershipError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import TEMPORARY, Store, StoreSettings

A, B = ModelName.parse("a"), ModelName.parse("b")


@pytest.fixture
def store(tmp_path):
    with Store(StoreSettings(str(tmp_path / "models"))) as opened:
        yield opened


def test_apply_blobs_are_in_place_before_the_manifest(memory_mirror, store, monkeypatch):
    memory_mirror.put(A.full, b"one", b"two")
    write = store.write_manifest
    seen = []

    def watched(name, raw):
        seen.append(sorted(store.blobs.names()))
        write(name, raw)

    monkeypatch.setattr(store, "write_manifest", watched)
    ModelImport(memory_mirror, store, [A]).apply()
    assert seen == [sorted(blob_file_name(digest_of(part)) for part in (b"one", b"two"))]


def test_apply_damaged_blob_of_one_model_leaves_the_other_complete(memory_mirror, store):
    sound = memory_mirror.put(A.full, b"shared", b"sound")
    memory_mirror.put(B.full, b"shared", b"other")
    memory_mirror.objects[memory_mirror.layout.blob_key(digest_of(b"other"))] = b"OTHER"
    made = ModelImport(memory_mirror, store, [A, B])
    with pytest.raises(WrongDigestError):
        made.apply()
    assert made.report.models == [A]
    assert store.manifest(A) == sound
    assert store.manifest(B) is None
    assert sorted(made.report.downloaded) == sorted(digest_of(part) for part in (b"shared", b"sound"))
    assert made.report.seconds > 0


def test_apply_failure_removes_no_old_blob(memory_mirror, store):
    memory_mirror.put(A.full, b"old")
    ModelImport(memory_mirror, store, [A]).apply()
    memory_mirror.put(A.full, b"new")
    memory_mirror.objects[memory_mirror.layout.blob_key(digest_of(b"new"))] = b"NEW"
    made = ModelImport(memory_mirror, store, [A])
    with pytest.raises(WrongDigestError):
        made.apply()
    assert not made.report.removal.changed
    assert store.blobs.names() == [blob_file_name(digest_of(b"old"))]


def test_apply_blob_that_vanishes_is_fetched_again(memory_mirror, store, monkeypatch):
    memory_mirror.put(A.full, b"one", b"two")
    write, left = store.write_manifest, [1]

    def prune(name, raw):
        write(name, raw)
        if left:
            left.pop()
            store.remove_blob(digest_of(b"one"))

    monkeypatch.setattr(store, "write_manifest", prune)
    made = ModelImport(memory_mirror, store, [A])
    made.apply()
    assert made.report.downloaded.count(digest_of(b"one")) == 2
    assert not made.plan().changed


def test_apply_blob_that_vanishes_every_time_is_a_race(memory_mirror, store, monkeypatch):
    memory_mirror.put(A.full, b"one")
    sync = store.sync_blobs

    def prune():
        sync()
        store.remove_blob(digest_of(b"one"))

    monkeypatch.setattr(store, "sync_blobs", prune)
    with pytest.raises(StoreRaceError, match=f"{import_run.ROUNDS} times in a row"):
        ModelImport(memory_mirror, store, [A]).apply()


def test_apply_file_system_that_ignores_modes_is_no_race(memory_mirror, tmp_path, monkeypatch):
    """CIFS and FAT confirm a change of the mode that they do not make."""
    raw = memory_mirror.put(A.full, b"one")
    monkeypatch.setattr(os, "fchmod", lambda descriptor, mode: None)
    with Store(StoreSettings(str(tmp_path / "models"), mode="0640")) as store:
        made = ModelImport(memory_mirror, store, [A])
        with pytest.raises(OwnershipError, match=r"still has the owner and mode .* 0600 after .* 0640") as caught:
            made.apply()
        assert store.manifest(A) == raw
        assert caught.value.details["path"] == store.blob_path(digest_of(b"one"))
        assert not made.report.access_changed


def test_apply_store_that_another_importer_holds_is_waited_for(memory_mirror, store):
    memory_mirror.put(A.full, b"one")
    store.prepare()
    said = []
    with exclusive(store.workspace, store.ownership, said.append):
        made = ModelImport(memory_mirror, store, [A], wait=LockWait(said.append, within=0.05))
        with pytest.raises(CollectionError) as caught:
            made.apply()
    assert caught.value.code == "store_busy"
    assert any(message.startswith("Waiting for") for message in said)
    assert store.manifest(A) is None


@pytest.mark.parametrize("prune, stays", [((), True), (["*"], False)])
def test_apply_partial_file_of_another_blob_goes_only_with_prune(memory_mirror, store, prune, stays):
    memory_mirror.put(A.full, b"one")
    store.prepare()
    name = partial_file.partial_name("sha256-" + "0" * 64)
    store.partials.write(name, b"half", store.ownership)
    ModelImport(memory_mirror, store, [A], prune=prune).apply()
    assert (name in store.partials.names()) is stays


def test_apply_temporary_files_that_a_killed_process_left_go(memory_mirror, store):
    """A process is killed while it tries whether a file can be renamed, or while it writes a manifest or records."""
    memory_mirror.put(A.full, b"one")
    store.prepare()
    for directory in (store.workspace, store.blobs):
        for name in ("trial", "0123456789abcdef"):
            directory.write(f"{TEMPORARY}{name}", b"", store.ownership)
    os.mkdir(store.workspace.join(f"{TEMPORARY}00"))  # a directory is not part of the store, and hinders nothing
    ModelImport(memory_mirror, store, [A]).apply()
    os.rmdir(store.workspace.join(f"{TEMPORARY}00"))
    assert [name for name in (*store.workspace.names(), *store.blobs.names()) if name.startswith(TEMPORARY)] == []


@pytest.mark.parametrize("prune, age, fits", [((), 8, True), ((), 1, False), (["*"], 1, True)])
def test_apply_room_of_partial_files_that_no_run_continues_is_free(memory_mirror, store, monkeypatch, prune, age, fits):
    """The disk is full of what an interrupted import of another model left."""
    memory_mirror.put(A.full, b"one")
    store.prepare()
    name = partial_file.partial_name("sha256-" + "0" * 64)
    store.partials.write(name, b"x" * 8192, store.ownership)
    past = time.time() - age * 24 * 3600
    os.utime(store.partials.join(name), (past, past))
    monkeypatch.setattr(store, "room", lambda: (store.path, 0 if name in store.partials.names() else 8192))
    made = ModelImport(memory_mirror, store, [A], prune=prune)
    if fits:
        made.plan()
        assert name in store.partials.names()
        made.apply()
        assert name not in store.partials.names() and store.manifest(A) is not None
    else:
        for step in (made.plan, made.apply):
            with pytest.raises(DiskFullError, match=f"other models hold 8.2 kB in {store.partials.path}"):
                step()
        assert name in store.partials.names()


def test_apply_kept_blob_that_no_manifest_names_is_touched(memory_mirror, store):
    """Ollama prunes blobs that are older than an hour and that no manifest names."""
    memory_mirror.put(A.full, b"orphan", b"new")
    store.prepare()
    path = store.blob_path(digest_of(b"orphan"))
    with open(path, "wb") as file:
        file.write(b"orphan")
    os.utime(path, (1, 1))
    ModelImport(memory_mirror, store, [A]).apply()
    assert os.stat(path).st_mtime > 1


def test_apply_newer_model_that_was_published_during_the_wait_is_imported(memory_mirror, store):
    memory_mirror.put(A.full, b"one")
    made = ModelImport(memory_mirror, store, [A])
    assert made.plan().changed
    newer = memory_mirror.put(A.full, b"two")
    ModelImport(memory_mirror, store, [A]).apply()
    made.apply()
    assert store.manifest(A) == newer
    assert made.report.downloaded == []


def test_apply_object_that_vanishes_is_named(memory_mirror, store, monkeypatch):
    memory_mirror.put(A.full, b"one")
    made = ModelImport(memory_mirror, store, [A])
    keep = ImportRun._keep_from_pruning

    def vanish(run, plan):
        del memory_mirror.objects[memory_mirror.layout.blob_key(digest_of(b"one"))]
        keep(run, plan)

    monkeypatch.setattr(ImportRun, "_keep_from_pruning", vanish)
    with pytest.raises(ObjectMissingError) as caught:
        made.apply()
    assert caught.value.details["digest"] == digest_of(b"one")
