# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server and its directory: what they must agree in, and how long a blob may take to be seen."""

from __future__ import annotations

import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models import server_destination
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.blob_inspector import BlobInspector
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.import_report import SyncReport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.server_destination import (
    NotItsStoreError,
    ServerDestination,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.verification_records import (
    VerificationRecords,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import Layer
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import NotPermittedError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings

NAME = ModelName.parse("llama3")
BLOB = Layer("x", digest_of(b"weights"), 7)


@pytest.fixture
def store(memory_server):
    with Store(StoreSettings(str(memory_server.path))) as opened:
        yield opened


@pytest.fixture
def destination(memory_server, store):
    return ServerDestination(memory_server, store, BlobInspector(store, VerificationRecords(None)), SyncReport())


def test_problems_sound_blob_makes_server_and_directory_agree(destination, memory_server):
    memory_server.file(BLOB.digest).write_bytes(b"weights")
    assert not destination.agreed
    assert destination.problems([BLOB]) == [None]
    assert destination.agreed


def test_problems_missing_blob_proves_nothing(destination):
    assert destination.problems([BLOB]) == [""]
    assert not destination.agreed


def test_problems_unreadable_blob_is_believed_and_reported(destination, memory_server, store, monkeypatch):
    memory_server.file(BLOB.digest).write_bytes(b"weights")

    def refuse(digest):
        raise NotPermittedError("no", remedy="become root", path="x")

    monkeypatch.setattr(store, "open_blob", refuse)
    assert destination.problems([BLOB]) == [None]
    assert destination._report.unverified == [BLOB.digest]
    destination.look()
    assert destination._report.unverified == []


def test_manifest_digest_listed_model_makes_both_agree(destination, store):
    store.write_manifest(NAME, b"{}")
    destination.look()
    assert destination.manifest_digest(NAME) == digest_of(b"{}")
    assert destination.agreed


def test_manifest_digest_unlisted_model_is_no_contradiction(destination, store):
    destination.look()
    store.write_manifest(NAME, b"{}")
    assert destination.manifest_digest(NAME) == digest_of(b"{}")
    assert not destination.agreed
    assert not destination._contradictions


def test_must_be_seen_blob_that_comes_late_is_waited_for(destination, memory_server, monkeypatch):
    monkeypatch.setattr(memory_server, "has_blob", lambda digest: True)
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            memory_server.file(BLOB.digest).write_bytes(b"weights")

    monkeypatch.setattr(server_destination.time, "sleep", sleep)
    destination.must_be_seen(BLOB.digest)
    assert len(waits) == 2
    assert destination.agreed


def test_must_be_seen_pruned_blob_ends_the_wait(destination):
    destination.must_be_seen(BLOB.digest)
    assert not destination.agreed


def test_must_be_seen_blob_that_never_comes_is_another_servers(destination, memory_server, monkeypatch):
    monkeypatch.setattr(server_destination, "SEEN_WITHIN", 0.0)
    monkeypatch.setattr(memory_server, "has_blob", lambda digest: True)
    with pytest.raises(NotItsStoreError) as caught:
        destination.must_be_seen(BLOB.digest)
    assert caught.value.details["host"] == memory_server.url
    assert os.fspath(memory_server.path) in caught.value.message
