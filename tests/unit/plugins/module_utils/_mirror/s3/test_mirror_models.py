# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mirror says of its models when some of them cannot be read, or something else answers in its place."""

from __future__ import annotations

import json

import botocore.exceptions as sdk
import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    BucketMissingError,
    MirrorAccessError,
    MirrorBusyError,
    MirrorUnreachableError,
    NotS3Error,
    ObjectMissingError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.catalog import blobs, models
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.object_list import Entry, ListPage, ObjectList
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.objects import ObjectState
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.sdk_objects import SdkObjects
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName

SETTINGS = S3Settings("models", endpoint_url="http://127.0.0.1:9", access_key="a", secret_key="b")
A, B = ModelName.parse("a"), ModelName.parse("b")
MANIFEST = json.dumps(
    {"schemaVersion": 2, "layers": [{"mediaType": "x", "digest": digest_of(b"1"), "size": 1}]}
).encode()


@pytest.fixture
def mirror(monkeypatch):
    """A mirror whose objects are these: bytes, or the error that reading them ends in."""
    made = Mirror(SETTINGS)
    made.objects = {made.layout.manifest_key(A): MANIFEST, made.layout.manifest_key(B): MANIFEST}

    def read(key, limit):
        found = made.objects.get(key, ObjectMissingError("it does not exist", s3_code="NoSuchKey"))
        if isinstance(found, Exception):
            raise found
        return found[:limit]

    def entries(prefix):
        found = tuple(Entry(key, None, "", None) for key in sorted(made.objects) if key.startswith(prefix))
        return ObjectList(
            prefix, lambda token, after: ListPage(found, truncated=made.truncated), "http://s3.lab", prefix
        )

    made.truncated = False
    monkeypatch.setattr(made, "read", read)
    monkeypatch.setattr(made, "entries", entries)
    return made


def test_manifest_missing_only_if_an_s3_server_says_so(mirror):
    absent = ModelName.parse("absent")
    assert mirror.manifest(absent) is None
    for code in (None, "404", "NotFound"):
        mirror.objects[mirror.layout.manifest_key(absent)] = ObjectMissingError(
            "the object does not exist", s3_code=code
        )
        with pytest.raises(NotS3Error, match="NoSuchKey"):
            mirror.manifest(absent)


@pytest.mark.parametrize(
    "error",
    [
        MirrorAccessError("access is denied"),
        BucketMissingError("says of this one that there is no bucket"),
        MirrorBusyError("reported an internal failure"),
        ObjectMissingError("a page with 404", s3_code=None),
    ],
)
def test_references_unreadable_manifest_is_a_doubt_and_is_listed_as_broken(mirror, error):
    mirror.objects[mirror.layout.manifest_key(B)] = error
    found = mirror.references()
    assert found.users == {digest_of(b"1"): [A]}
    assert found.names == {A, B}
    assert len(found.doubts) == 1
    assert error.message in found.doubts[0]
    listed = models(mirror)
    assert [(entry.name, entry.manifest is None) for entry in listed] == [(A, False), (B, True)]
    assert error.message in listed[1].problem


def test_references_unreachable_mirror_is_an_error(mirror):
    mirror.objects[mirror.layout.manifest_key(B)] = MirrorUnreachableError("does not answer")
    with pytest.raises(MirrorUnreachableError):
        mirror.references()
    with pytest.raises(MirrorUnreachableError):
        models(mirror)


def test_references_incomplete_list_is_a_doubt(mirror):
    mirror.truncated = True
    found = mirror.references()
    assert found.names == {A, B}
    assert "no token" in found.doubts[0]


@pytest.mark.parametrize(
    "key, doubtful",
    [
        ("registry.ollama.ai/library/a/latest (conflicted copy)", True),
        ("localhost%3A5000/library/a/latest", True),
        ("registry.ollama.ai%2Flibrary%2Fc%2Flatest", True),
        ("registry.ollama.ai/library/a/.DS_Store", True),
        ("registry.ollama.ai/library/a/", False),
        ("registry.ollama.ai/.DS_Store", False),
        ("a/b/c/d/e", False),
    ],
)
def test_references_key_that_may_be_a_manifest_is_a_doubt(mirror, key, doubtful):
    """Be it that its name is not a model name, or that the server does not find it as it lists it."""
    mirror.objects[mirror.layout.manifests + key] = b""
    found = mirror.references()
    assert found.users == {digest_of(b"1"): [A, B]}
    assert bool(found.doubts) is doubtful


def test_references_model_that_was_removed_since_it_was_listed_is_no_doubt(mirror, monkeypatch):
    read = mirror.read

    def read_late(key, limit):
        mirror.objects.pop(mirror.layout.manifest_key(B), None)
        return read(key, limit)

    monkeypatch.setattr(mirror, "read", read_late)
    assert not mirror.references().doubts


HOSTILE = [
    "\x1b[2J",
    "a\nb",
    "\u202e",
    "../../../etc",
    "%2e%2e",
    "\ud800",
    "x" * 900,
    "registry.ollama.ai/library/a/;rm",
]


@pytest.mark.parametrize("key", HOSTILE)
def test_names_hostile_keys_harm_neither_lists_nor_messages(mirror, key):
    mirror.objects[mirror.layout.manifests + key] = b""
    mirror.objects[f"{mirror.layout.manifests}registry.ollama.ai/library/a/{key}"] = b""
    assert [entry.name for entry in models(mirror)] == [A, B]
    for doubt in mirror.references().doubts:
        assert doubt.isprintable()


def test_manifest_behind_a_delete_marker_is_missing():
    class Client:
        def get_object(self, **_which):
            meta = {"HTTPStatusCode": 404, "HTTPHeaders": {"x-amz-delete-marker": "true"}}
            answer = {"Error": {"Code": "NoSuchKey", "Message": "m"}, "ResponseMetadata": meta}
            raise sdk.ClientError(answer, "GetObject")

    assert Mirror(SETTINGS, objects=SdkObjects(SETTINGS, client=Client())).manifest(A) is None


def test_blobs_that_a_list_lacks_are_requested_one_by_one(mirror, monkeypatch):
    asked = []

    def find(key):
        asked.append(key)
        return ObjectState(key, 1, '"e"', None) if len(asked) < 40 else None

    monkeypatch.setattr(mirror, "find", find)
    digests = [digest_of(bytes([number])) for number in range(40)]
    # The list names the first one, and leaves its size and ETag out.
    mirror.objects[mirror.layout.blob_key(digests[0])] = b"1"
    assert len(blobs(mirror, digests)) == 39
    assert len(asked) == 40
