# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inspection of a store's blobs: which problem each has, and what is read to know it."""

from __future__ import annotations

import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models import blob_inspector
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.blob_inspector import BlobInspector
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.verification_records import (
    VerificationRecords,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import Layer

CONTENT = b"weights"


@pytest.fixture
def blob(store):
    """A sound blob of the store."""
    layer = Layer("x", digest_of(CONTENT), len(CONTENT))
    with open(store.blob_path(layer.digest), "wb") as file:
        file.write(CONTENT)
    return layer


@pytest.fixture
def inspector(store):
    return BlobInspector(store, VerificationRecords(store.find_workspace()))


def damage(store, blob, content):
    with open(store.blob_path(blob.digest), "wb") as file:
        file.write(content)


def test_problems_differ_for_sound_and_missing_blobs(inspector, blob):
    missing = Layer("x", digest_of(b"missing"), 7)
    assert inspector.problems([missing, blob, missing]) == ["", None, ""]


def test_problem_other_size_is_seen_without_reading(inspector, store, blob, monkeypatch):
    damage(store, blob, b"short")
    monkeypatch.setattr(blob_inspector, "digest_of_file", lambda descriptor: pytest.fail("it is read"))
    assert inspector.problem(blob) == "it has 5 bytes instead of 7"


def test_problem_other_content_names_its_digest(inspector, store, blob):
    damage(store, blob, b"wEights")
    assert inspector.problem(blob) == f"its content has the digest {digest_of(b'wEights')}"


def test_problem_directory_in_place_of_a_blob_is_no_file(inspector, store, blob):
    os.unlink(store.blob_path(blob.digest))
    os.mkdir(store.blob_path(blob.digest))
    assert inspector.problem(blob) == "it is not a regular file"


def test_problem_blob_that_vanishes_before_it_is_read_is_missing(inspector, store, blob, monkeypatch):
    monkeypatch.setattr(store, "open_blob", lambda digest: None)
    assert inspector.problem(blob) == ""


def test_problem_verified_blob_is_hashed_once(inspector, blob, monkeypatch):
    assert inspector.problem(blob) is None
    monkeypatch.setattr(blob_inspector, "digest_of_file", lambda descriptor: pytest.fail("it is hashed again"))
    assert inspector.problem(blob) is None


def test_remember_verified_blob_is_known_to_the_next_run(inspector, store, blob, monkeypatch):
    inspector.problem(blob)
    inspector.remember()
    monkeypatch.setattr(blob_inspector, "digest_of_file", lambda descriptor: pytest.fail("it is hashed again"))
    assert BlobInspector(store, VerificationRecords(store.find_workspace())).problem(blob) is None


def test_remember_without_news_creates_nothing(inspector, store):
    inspector.remember()
    assert store.find_workspace() is None


def test_note_distrusted_blob_is_not_recorded(inspector, store, blob, monkeypatch):
    inspector.distrust(blob.digest)
    inspector.note(blob.digest)
    read = []
    monkeypatch.setattr(blob_inspector, "digest_of_file", lambda descriptor: read.append(1) or blob.digest)
    assert inspector.problem(blob) is None
    assert read == [1]


def test_note_touched_blob_stays_verified(inspector, store, blob, monkeypatch):
    inspector.problem(blob)
    os.utime(store.blob_path(blob.digest), (1, 1))
    inspector.note(blob.digest)
    monkeypatch.setattr(blob_inspector, "digest_of_file", lambda descriptor: pytest.fail("it is hashed again"))
    assert inspector.problem(blob) is None


def test_note_missing_blob_is_ignored(inspector):
    inspector.note(digest_of(b"missing"))
    assert inspector.problem(Layer("x", digest_of(b"missing"), 7)) == ""
