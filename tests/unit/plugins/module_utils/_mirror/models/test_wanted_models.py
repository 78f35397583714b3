# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The models that an import asks a mirror for, with the requests that this costs."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    MirrorIncompleteError,
    ModelMissingError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.plan import ADD, BlobChange
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.wanted_models import (
    WantedModels,
    digests,
    distinct_blobs,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import Layer, Manifest, ManifestError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName

A, B = ModelName.parse("a"), ModelName.parse("b")


def change(content, size=None):
    return BlobChange(digest_of(content), len(content) if size is None else size, ADD)


def test_manifests_asked_twice_are_requested_once(memory_mirror):
    raw = memory_mirror.put(A.full, b"weights")
    wanted = WantedModels(memory_mirror, [A, A])
    assert wanted.manifests() == wanted.manifests() == {A: Manifest.parse(raw)}
    assert memory_mirror.store.requests == [("get", memory_mirror.layout.manifest_key(A))]


def test_manifests_missing_model_names_what_is_alike(memory_mirror):
    memory_mirror.put("llama3:8b", b"weights")
    with pytest.raises(ModelMissingError) as caught:
        WantedModels(memory_mirror, [ModelName.parse("lama3:8b")]).manifests()
    assert "llama3:8b" in caught.value.remedy


def test_manifests_damaged_manifest_is_named_by_its_url(memory_mirror):
    memory_mirror.objects[memory_mirror.layout.manifest_key(A)] = b"{"
    with pytest.raises(ManifestError) as caught:
        WantedModels(memory_mirror, [A]).manifests()
    assert caught.value.message.startswith("s3://models/")
    assert caught.value.details["name"] == A.full


@pytest.mark.parametrize("there, says", [(b"weigh", "has 5 bytes of it"), (None, "does not have it")])
def test_find_blobs_missing_or_short_object_is_incomplete(memory_mirror, there, says):
    raw = memory_mirror.put(A.full, b"weights")
    key = memory_mirror.layout.blob_key(digest_of(b"weights"))
    if there is None:
        del memory_mirror.objects[key]
    else:
        memory_mirror.objects[key] = there
    with pytest.raises(MirrorIncompleteError, match=f"Model a:latest needs .*{says}"):
        WantedModels(memory_mirror, [A]).find_blobs([change(b"weights")], {A: Manifest.parse(raw)})


def test_find_blobs_known_object_is_not_requested_again(memory_mirror):
    memory_mirror.put(A.full, b"weights")
    wanted = WantedModels(memory_mirror, [A])
    wanted.find_blobs([change(b"weights")], {})
    count = len(memory_mirror.store.requests)
    wanted.find_blobs([change(b"weights")], {})
    assert len(memory_mirror.store.requests) == count


def test_source_empty_blob_needs_no_object(memory_mirror):
    wanted = WantedModels(memory_mirror, [A])
    wanted.find_blobs([change(b"")], {})
    assert wanted.source(change(b"")) is not None
    assert memory_mirror.store.requests == []


def test_distinct_blobs_shared_blob_is_one(memory_mirror):
    manifests = {name: Manifest.parse(memory_mirror.put(name.full, b"shared", name.model.encode())) for name in (A, B)}
    found = distinct_blobs(manifests)
    assert [blob.digest for blob in found] == [digest_of(part) for part in (b"shared", b"a", b"b")]
    assert digests(manifests[A]) == {digest_of(b"shared"), digest_of(b"a")}


def test_distinct_blobs_two_sizes_of_one_digest_are_refused(memory_mirror):
    manifests = {
        name: Manifest(b"", None, (Layer("x", digest_of(b"shared"), size),)) for name, size in ((A, 6), (B, 7))
    }
    with pytest.raises(ManifestError, match="7 bytes, and that of another model 6"):
        distinct_blobs(manifests)
