# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store as a destination: what it reports, and when it must be writable."""

from __future__ import annotations

import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.blob_inspector import BlobInspector
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.import_report import ImportReport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.plan import (
    ADD,
    BlobChange,
    ModelChange,
    Plan,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.store_destination import (
    StoreDelivery,
    StoreDestination,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.verification_records import (
    VerificationRecords,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import Layer
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import NotPermittedError

NAME = ModelName.parse("llama3")
CHANGED = Plan(blobs=(BlobChange(digest_of(b"x"), 1, ADD),))


@pytest.fixture
def destination(store):
    return StoreDestination(store, BlobInspector(store, VerificationRecords(None)))


def test_destination_empty_store_has_nothing(destination):
    destination.look()
    assert list(destination.names()) == []
    assert destination.manifest_digest(NAME) is None
    assert destination.problems([Layer("x", digest_of(b"x"), 1)]) == [""]


def test_destination_manifest_is_known_by_its_digest(destination, store):
    store.write_manifest(NAME, b"{}")
    assert list(destination.names()) == [NAME]
    assert destination.manifest_digest(NAME) == digest_of(b"{}")


def test_must_be_possible_read_only_store_is_refused_for_a_change_only(destination, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_arguments, **_options: False)
    destination.must_be_possible(Plan(), {})
    with pytest.raises(NotPermittedError):
        destination.must_be_possible(CHANGED, {})


def test_delivery_without_blobs_is_complete(destination):
    class Downloads:
        def expect(self, blobs, users):
            assert not blobs

        def run(self, transfers, arrived):
            assert not transfers

    report = ImportReport()
    delivery = StoreDelivery(Downloads(), report)
    delivery.deliver([], {}, lambda transfer: None)
    assert report.failures == []
    assert delivery.is_complete(ModelChange(NAME, None, None))
