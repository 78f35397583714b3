# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports: what the plan sees and says before anything is done."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import WrongDigestError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_import import ModelImport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_removal import (
    carry_out_removal,
    plan_removal,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import (
    Manifest,
    UnsupportedManifestError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import NotPermittedError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings

NAME = ModelName.parse("llama3")


@pytest.fixture
def store(tmp_path, memory_mirror):
    """A store that has the model."""
    memory_mirror.put(NAME.full, b"shared", b"own")
    with Store(StoreSettings(str(tmp_path / "models"))) as opened:
        ModelImport(memory_mirror, opened, [NAME]).apply()
        yield opened


SIGNED = {
    "artifactType": "application/vnd.ollama.model",
    "annotations": {"org.opencontainers.image.created": "2026-11-28T00:00:00Z"},
    "subject": {"mediaType": "x", "digest": digest_of(b"a signature"), "size": 11},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"config": {"mediaType": "x", "digest": digest_of(b"{}"), "size": 2}, **SIGNED},
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {"digest": ""}, **SIGNED},
    ],
    ids=["no configuration", "signed", "OCI"],
)
def test_apply_model_of_any_shape_is_imported_and_removed_whole(tmp_path, memory_mirror, changes):
    """With a blob without content and one that is named twice; what a signature names is not part of the model."""
    layers = [
        {"mediaType": "x", "digest": digest_of(part), "size": len(part)} for part in (b"", b"weights", b"weights")
    ]
    raw = json.dumps({"schemaVersion": 2, "layers": layers, **changes}).encode()
    memory_mirror.objects[memory_mirror.layout.manifest_key(NAME)] = raw
    for part in (b"weights", b"{}"):  # the mirror need not have the one without content
        memory_mirror.objects[memory_mirror.layout.blob_key(digest_of(part))] = part
    with Store(StoreSettings(str(tmp_path / "models"))) as store:
        ModelImport(memory_mirror, store, [NAME]).apply()
        assert store.manifest(NAME) == raw
        assert not ModelImport(memory_mirror, store, [NAME], verify_always=True).plan().changed
        needed = Manifest.parse(raw).blobs
        assert len(store.blobs.names()) == len(needed) >= 2
        assert len(carry_out_removal(store, plan_removal(store, [NAME])).digests) == len(needed)
        assert store.blobs.names() == []


def test_plan_list_of_manifests_is_refused_and_nothing_is_created(tmp_path, memory_mirror):
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
    memory_mirror.objects[memory_mirror.layout.manifest_key(NAME)] = json.dumps(index).encode()
    with Store(StoreSettings(str(tmp_path / "models"))) as store, pytest.raises(UnsupportedManifestError) as caught:
        ModelImport(memory_mirror, store, [NAME]).plan()
    assert "s3://models/" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_plan_prune_of_an_unreadable_directory_is_a_warning(store, memory_mirror, tmp_path):
    link = tmp_path / "models/manifests/hf.co"
    link.symlink_to(tmp_path / "a disk that is not mounted")
    (warning,) = ModelImport(memory_mirror, store, [NAME], prune=["*"]).plan().warnings
    assert "prune" in warning
    assert str(link) in warning
    assert not ModelImport(memory_mirror, store, [NAME]).plan().warnings


def test_apply_damaged_blob_is_named_by_its_object_with_the_remedy(store, memory_mirror):
    memory_mirror.put(NAME.full, b"shared", b"new")
    key = memory_mirror.layout.blob_key(digest_of(b"new"))
    memory_mirror.objects[key] = b"bad"
    with pytest.raises(WrongDigestError) as caught:
        ModelImport(memory_mirror, store, [NAME]).apply()
    assert f"s3://models/{key}" in caught.value.message
    assert "remove the object from the bucket" in caught.value.remedy


@pytest.mark.parametrize("part", ["blobs", "manifests", ".legionio-ollama"])
def test_plan_directory_that_may_not_be_written_to_is_refused(store, memory_mirror, tmp_path, monkeypatch, part):
    memory_mirror.put(NAME.full, b"shared", b"new")
    barred = os.stat(tmp_path / "models" / part).st_ino
    access = os.access

    def refuse(path, mode, *, dir_fd=None, **options):
        if dir_fd is not None and os.fstat(dir_fd).st_ino == barred:
            return False
        return access(path, mode, dir_fd=dir_fd, **options)

    monkeypatch.setattr(os, "access", refuse)
    with pytest.raises(NotPermittedError) as caught:
        ModelImport(memory_mirror, store, [NAME]).plan()
    assert str(tmp_path / "models" / part) in caught.value.message


def test_plan_store_that_cannot_be_created_is_refused(tmp_path, memory_mirror, monkeypatch):
    memory_mirror.put(NAME.full, b"new")
    monkeypatch.setattr(os, "access", lambda *_arguments, **_options: False)
    path = tmp_path / "not there/models"
    with Store(StoreSettings(str(path))) as store, pytest.raises(NotPermittedError) as caught:
        ModelImport(memory_mirror, store, [NAME]).plan()
    assert str(path) in caught.value.message


def test_plan_unchanged_read_only_store_is_no_failure(store, memory_mirror, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_arguments, **_options: False)
    assert not ModelImport(memory_mirror, store, [NAME]).plan().changed
