# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of pieces in the mirror: when one is missing, and what is written."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import WrongDigestError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.piece_publish import (
    lacks_pieces,
    publish_pieces,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_list import LEAST_BLOB, PieceList
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import blob_file_name, digest_of

CONTENT = os.urandom(LEAST_BLOB + 10)
DIGEST, SIZE = digest_of(CONTENT), len(CONTENT)


def put(store, content=CONTENT):
    path = os.path.join(store.blobs.path, blob_file_name(DIGEST))
    with open(path, "wb") as file:
        file.write(content)


@pytest.fixture
def published(memory_mirror, store):
    """A mirror with the list of the blob."""
    put(store)
    assert publish_pieces(memory_mirror, store, DIGEST, SIZE)
    return memory_mirror


def test_publish_list_of_a_blob_is_readable_and_no_longer_lacking(memory_mirror, store):
    put(store)
    assert lacks_pieces(memory_mirror, DIGEST, SIZE)
    assert publish_pieces(memory_mirror, store, DIGEST, SIZE)
    key = memory_mirror.layout.pieces_key(DIGEST)
    pieces = PieceList.parse(memory_mirror.objects[key], DIGEST, SIZE)
    start, stop = pieces.bounds(4)
    assert (start, stop) == (LEAST_BLOB, SIZE) and digest_of(CONTENT[start:stop]) == f"sha256:{pieces.digests[4].hex()}"
    assert memory_mirror.store.digests[key] == digest_of(memory_mirror.objects[key])
    assert not lacks_pieces(memory_mirror, DIGEST, SIZE)


def test_publish_blob_that_was_removed_writes_nothing(memory_mirror, store):
    assert not publish_pieces(memory_mirror, store, DIGEST, SIZE)
    assert memory_mirror.objects == {}


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b"", b"y" + CONTENT[1:]])
def test_publish_blob_with_other_content_is_refused_and_writes_nothing(memory_mirror, store, content):
    put(store, content)
    with pytest.raises(WrongDigestError) as refused:
        publish_pieces(memory_mirror, store, DIGEST, SIZE)
    assert refused.value.details["digest"] == DIGEST and refused.value.details["found"] == digest_of(content)
    assert memory_mirror.objects == {}


def test_lacks_small_blob_needs_no_list_and_no_request(memory_mirror):
    assert not lacks_pieces(memory_mirror, DIGEST, LEAST_BLOB - 1)
    assert memory_mirror.store.requests == []
    assert lacks_pieces(memory_mirror, DIGEST, LEAST_BLOB)


@pytest.mark.parametrize("change", [{"size": SIZE - 1}, {"version": 2}, {"pieces": "00"}, {"digest": digest_of(b"")}])
def test_lacks_list_of_another_blob_is_replaced(published, change):
    key = published.layout.pieces_key(DIGEST)
    published.objects[key] = json.dumps({**json.loads(published.objects[key]), **change}).encode()
    published.store.digests.pop(key)
    assert lacks_pieces(published, DIGEST, SIZE)


def test_lacks_list_that_was_changed_after_its_publication_is_replaced(published):
    key = published.layout.pieces_key(DIGEST)
    document = json.loads(published.objects[key])
    first = document["pieces"][:1]
    document["pieces"] = ("1" if first == "0" else "0") + document["pieces"][1:]
    published.objects[key] = json.dumps(document).encode()
    assert lacks_pieces(published, DIGEST, SIZE)


def test_lacks_list_without_a_recorded_digest_is_believed(published, monkeypatch):
    """Another program may have copied the mirror without the metadata."""
    head = published.store.head

    def bare(key):
        return {name: value for name, value in head(key).items() if not name.startswith("x-amz-meta")}

    monkeypatch.setattr(published.store, "head", bare)
    assert published.state(published.layout.pieces_key(DIGEST)).digest is None
    assert not lacks_pieces(published, DIGEST, SIZE)


def test_lacks_list_that_is_removed_meanwhile_is_missing(published, monkeypatch):
    get = published.store.get

    def gone(key, limit):
        published.objects.pop(key)
        return get(key, limit)

    monkeypatch.setattr(published.store, "get", gone)
    assert lacks_pieces(published, DIGEST, SIZE)
