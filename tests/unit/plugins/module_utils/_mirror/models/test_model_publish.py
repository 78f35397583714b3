# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publications of models into a mirror in memory: what is sent, what is skipped, and what is refused."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import MirrorAccessError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_import import ModelImport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_publish import (
    ModelPublisher,
    NotInStoreError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.plan import ADD, KEEP, REMOVE, REPLACE
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_list import LEAST_BLOB
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.byte_counter import ByteCounter
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import ManifestError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings

NAME, OTHER = ModelName.parse("llama3:8b"), ModelName.parse("other")
WEIGHTS, TEMPLATE = b"weights" * 100, b"template"


@pytest.fixture
def store(tmp_path, memory_mirror):
    """A store that has the model; the mirror is empty again."""
    memory_mirror.put(NAME.full, WEIGHTS, TEMPLATE)
    with Store(StoreSettings(str(tmp_path / "models"))) as opened:
        ModelImport(memory_mirror, opened, [NAME]).apply()
        memory_mirror.objects.clear()
        yield opened


@pytest.fixture
def publish(memory_mirror, store):
    """Plan and carry out a publication; return plan and report."""

    def run(*names, **options):
        publisher = ModelPublisher(memory_mirror, store, names or [NAME], **options)
        plan = publisher.plan()
        publisher.apply(plan)
        return plan, publisher.report

    return run


def key_of(mirror, content):
    return mirror.layout.blob_key(digest_of(content))


def puts(mirror):
    return [key for name, key in mirror.store.requests if name == "put"]


def test_apply_kept_blob_that_another_publication_removes_is_uploaded_again(memory_mirror, store):
    memory_mirror.objects[key_of(memory_mirror, WEIGHTS)] = WEIGHTS
    publisher = ModelPublisher(memory_mirror, store, [NAME])
    plan = publisher.plan()
    assert [blob.digest for blob in plan.of(KEEP)] == [digest_of(WEIGHTS)]
    del memory_mirror.objects[key_of(memory_mirror, WEIGHTS)]
    publisher.apply(plan)
    assert memory_mirror.objects[key_of(memory_mirror, WEIGHTS)] == WEIGHTS


@pytest.mark.parametrize("before, action", [(None, ADD), (b"short", REPLACE)])
def test_apply_blob_that_another_publication_removes_after_its_upload_is_uploaded_again(
    memory_mirror, store, monkeypatch, before, action
):
    key = key_of(memory_mirror, WEIGHTS)
    if before is not None:
        memory_mirror.objects[key] = before
    publisher = ModelPublisher(memory_mirror, store, [NAME])
    plan = publisher.plan()
    assert digest_of(WEIGHTS) in {blob.digest for blob in plan.of(action)}
    write = memory_mirror.write

    def remove_blob_first(written, content, digest):
        if written == memory_mirror.layout.manifest_key(NAME):
            del memory_mirror.objects[key]
        write(written, content, digest)

    monkeypatch.setattr(memory_mirror, "write", remove_blob_first)
    publisher.apply(plan)
    assert memory_mirror.objects[key] == WEIGHTS


def test_plan_damaged_list_of_pieces_is_written_again(publish, memory_mirror, store, tmp_path):
    large = bytes(LEAST_BLOB)
    memory_mirror.put(OTHER.full, large)
    ModelImport(memory_mirror, store, [OTHER]).apply()
    memory_mirror.objects.clear()
    publish(OTHER)
    key = memory_mirror.layout.pieces_key(digest_of(large))
    right = memory_mirror.objects[key]
    assert not ModelPublisher(memory_mirror, store, [OTHER]).plan().changed
    memory_mirror.objects[key] = right[:-10] + b"0000000000"
    plan, _report = publish(OTHER)
    assert plan.pieces == (digest_of(large),)
    assert memory_mirror.objects[key] == right


def test_apply_empty_mirror_gets_blobs_before_the_manifest(publish, memory_mirror, store):
    counter = ByteCounter()
    plan, report = publish(counter=counter)
    assert plan.changed
    assert puts(memory_mirror)[-1] == memory_mirror.layout.manifest_key(NAME)
    assert memory_mirror.objects[key_of(memory_mirror, WEIGHTS)] == WEIGHTS
    assert memory_mirror.manifest(NAME) == store.manifest(NAME)
    assert sorted(report.uploaded) == sorted([digest_of(WEIGHTS), digest_of(TEMPLATE)])
    assert report.bytes_sent == counter.read().done == len(WEIGHTS) + len(TEMPLATE)
    assert report.models == [NAME]


def test_plan_published_model_changes_nothing(publish, memory_mirror, store):
    publish()
    assert not ModelPublisher(memory_mirror, store, [NAME]).plan().changed


def test_plan_object_of_another_size_is_replaced(publish, memory_mirror):
    publish()
    memory_mirror.objects[key_of(memory_mirror, WEIGHTS)] = b"short"
    plan, _report = publish()
    assert [(blob.digest, blob.reason) for blob in plan.of(REPLACE)] == [
        (digest_of(WEIGHTS), f"it has 5 bytes instead of {len(WEIGHTS)}")
    ]
    assert memory_mirror.objects[key_of(memory_mirror, WEIGHTS)] == WEIGHTS


def test_plan_object_with_another_recorded_digest_is_replaced(publish, memory_mirror):
    publish()
    memory_mirror.store.digests[key_of(memory_mirror, TEMPLATE)] = digest_of(b"other")
    plan, _report = publish()
    assert [blob.reason for blob in plan.of(REPLACE)] == [f"the digest recorded with it is {digest_of(b'other')}"]


@pytest.mark.parametrize("sound, action", [(True, KEEP), (False, REPLACE)])
def test_plan_object_without_a_digest_is_kept_by_its_etag_alone(
    publish, memory_mirror, store, monkeypatch, sound, action
):
    """The ETag of an object that was written as a whole is the MD5 of its content."""
    publish()
    key = key_of(memory_mirror, TEMPLATE)
    memory_mirror.store.digests[key] = ""
    if not sound:
        monkeypatch.setattr(memory_mirror.store, "etag", lambda key: '"0123456789abcdef0123456789abcdef"')
    plan = ModelPublisher(memory_mirror, store, [NAME]).plan()
    assert {blob.digest: blob.action for blob in plan.blobs}[digest_of(TEMPLATE)] == action


def test_plan_missing_model_names_what_is_alike(memory_mirror, store):
    with pytest.raises(NotInStoreError) as caught:
        ModelPublisher(memory_mirror, store, [ModelName.parse("lama3:8b")]).plan()
    assert "llama3:8b" in caught.value.remedy


@pytest.mark.parametrize("content, says", [(None, "is missing"), (b"short", "has 5 bytes instead of")])
def test_plan_incomplete_store_is_refused(memory_mirror, store, content, says):
    store.remove_blob(digest_of(WEIGHTS))
    if content is not None:
        with open(store.blob_path(digest_of(WEIGHTS)), "wb") as file:
            file.write(content)
    with pytest.raises(NotInStoreError, match=says):
        ModelPublisher(memory_mirror, store, [NAME]).plan()


def test_plan_damaged_manifest_is_named_by_its_path(memory_mirror, store):
    store.write_manifest(NAME, b"{")
    with pytest.raises(ManifestError) as caught:
        ModelPublisher(memory_mirror, store, [NAME]).plan()
    assert store.manifest_path(NAME) in caught.value.message


def test_apply_prune_removes_other_models_and_what_only_they_name(publish, memory_mirror):
    memory_mirror.put(OTHER.full, TEMPLATE, b"only other")
    plan, report = publish(prune=["*"])
    assert [model.name for model in plan.models if model.action == REMOVE] == [OTHER]
    assert report.removal.digests == [digest_of(b"only other")]
    assert memory_mirror.names() == [NAME]
    assert key_of(memory_mirror, TEMPLATE) in memory_mirror.objects


def test_apply_replaced_manifest_keeps_old_blobs_without_prune(publish, memory_mirror):
    memory_mirror.put(NAME.full, b"old")
    plan, _report = publish()
    assert [model.action for model in plan.models] == [REPLACE]
    assert key_of(memory_mirror, b"old") in memory_mirror.objects
    memory_mirror.put(NAME.full, b"old")
    plan, _report = publish(prune=["nothing"])
    assert key_of(memory_mirror, b"old") not in memory_mirror.objects


def test_apply_blob_that_vanishes_is_named(memory_mirror, store):
    publisher = ModelPublisher(memory_mirror, store, [NAME])
    plan = publisher.plan()
    assert {blob.action for blob in plan.blobs} == {ADD}
    store.remove_blob(digest_of(TEMPLATE))
    with pytest.raises(NotInStoreError, match="was removed while its model was published"):
        publisher.apply(plan)
    assert memory_mirror.manifest(NAME) is None


def test_plan_mirror_that_may_not_be_listed_is_published_to_without_a_warning(publish, memory_mirror, monkeypatch):
    def refuse(prefix, token, after):
        raise MirrorAccessError("no", remedy="Give the right")

    monkeypatch.setattr(memory_mirror.store, "page", refuse)
    plan, _report = publish()
    assert plan.warnings == ()
