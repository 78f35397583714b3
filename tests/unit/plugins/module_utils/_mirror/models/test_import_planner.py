# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of an import: what it decides, and what it refuses before anything is done."""

from __future__ import annotations

import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import MirrorIncompleteError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.blob_inspector import BlobInspector
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.import_planner import ImportPlanner
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_import import ModelImport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.plan import ADD, KEEP, REMOVE, REPLACE
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.store_destination import StoreDestination
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.wanted_models import WantedModels
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.verification_records import (
    VerificationRecords,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import safe_fs
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import DiskFullError, Ownership
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings

A, B = ModelName.parse("a"), ModelName.parse("b")


@pytest.fixture
def store(tmp_path):
    with Store(StoreSettings(str(tmp_path / "models"))) as opened:
        yield opened


def planner(mirror, store, *names, prune=()):
    inspector = BlobInspector(store, VerificationRecords(store.find_workspace()))
    return ImportPlanner(WantedModels(mirror, names), store, StoreDestination(store, inspector), prune)


def actions(plan):
    return {blob.digest: blob.action for blob in plan.blobs}


def test_plan_empty_store_adds_everything_and_creates_nothing(memory_mirror, store, tmp_path):
    memory_mirror.put(A.full, b"one", b"two")
    made = planner(memory_mirror, store, A)
    plan = made.plan()
    assert set(actions(plan).values()) == {ADD}
    assert [model.action for model in plan.models] == [ADD]
    assert plan.bytes_to_transfer == 6
    assert set(made.manifests) == {A}
    assert list(tmp_path.iterdir()) == []


def test_plan_new_version_replaces_the_manifest_and_removes_what_only_the_old_one_names(memory_mirror, store):
    memory_mirror.put(A.full, b"shared", b"old")
    ModelImport(memory_mirror, store, [A]).apply()
    memory_mirror.put(A.full, b"shared", b"new")
    plan = planner(memory_mirror, store, A).plan()
    assert [model.action for model in plan.models] == [REPLACE]
    assert actions(plan) == {digest_of(b"shared"): KEEP, digest_of(b"new"): ADD, digest_of(b"old"): REMOVE}
    assert plan.bytes_freed == 3


@pytest.mark.parametrize("prune, going", [((), []), (["*"], [B]), (["a"], [])])
def test_plan_prune_removes_other_models_that_match(memory_mirror, store, prune, going):
    for name in (A, B):
        memory_mirror.put(name.full, name.model.encode())
    ModelImport(memory_mirror, store, [A, B]).apply()
    plan = planner(memory_mirror, store, A, prune=prune).plan()
    assert [model.name for model in plan.models if model.action == REMOVE] == going


def test_plan_too_little_room_is_refused_with_the_numbers(memory_mirror, store, monkeypatch):
    memory_mirror.put(A.full, b"x" * 2000)
    monkeypatch.setattr(store, "room", lambda: ("/models", 1000))
    with pytest.raises(DiskFullError, match=r"needs 2\.0 kB at /models, and 1\.0 kB are free") as caught:
        planner(memory_mirror, store, A).plan()
    assert (caught.value.details["bytes_needed"], caught.value.details["bytes_free"]) == (2000, 1000)


def test_plan_missing_blob_is_refused(memory_mirror, store):
    memory_mirror.put(A.full, b"weights")
    del memory_mirror.objects[memory_mirror.layout.blob_key(digest_of(b"weights"))]
    with pytest.raises(MirrorIncompleteError):
        planner(memory_mirror, store, A).plan()


def test_plan_asked_twice_requests_the_mirror_once(memory_mirror, store):
    memory_mirror.put(A.full, b"weights")
    made = planner(memory_mirror, store, A)
    made.plan()
    count = len(memory_mirror.store.requests)
    made.plan()
    assert len(memory_mirror.store.requests) == count


def test_plan_files_of_another_mode_are_access_changes(memory_mirror, store, tmp_path):
    memory_mirror.put(A.full, b"weights")
    ModelImport(memory_mirror, store, [A]).apply()
    with Store(StoreSettings(str(tmp_path / "models"), mode="0640")) as asked:
        made = ModelImport(memory_mirror, asked, [A])
        plan = made.plan()
        assert {os.path.basename(change.path) for change in plan.access} == {
            digest_of(b"weights").replace(":", "-"),
            "latest",
        }
        assert plan.changed
        made.apply()
        assert not made.plan().changed
        assert asked.blob_state(digest_of(b"weights")).st_mode & 0o777 == 0o640


def test_plan_owner_who_may_not_enter_the_directory_is_a_warning(memory_mirror, store, monkeypatch):
    memory_mirror.put(A.full, b"weights")
    monkeypatch.setattr(store, "ownership", Ownership(65534, 65534, 0o644, 0o755))
    monkeypatch.setattr(
        "ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.import_planner.barred",
        lambda path, uid, gid: "/closed",
    )
    (warning,) = planner(memory_mirror, store, A).plan().warnings
    assert f"User {safe_fs.user_name(65534)}" in warning
    assert "may not enter /closed" in warning
