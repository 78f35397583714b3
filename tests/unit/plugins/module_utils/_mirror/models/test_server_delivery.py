# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The delivery of blobs to a server: order, repetition, and blobs that somebody else brings meanwhile."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.blob_downloads import BlobDownloads
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.blob_inspector import BlobInspector
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.import_planner import ImportPlanner
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.import_report import SyncReport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.plan import ADD
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.server_delivery import ServerDelivery
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.server_destination import ServerDestination
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.wanted_models import WantedModels
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.state.verification_records import (
    VerificationRecords,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.options import TransferOptions
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.api_errors import ServerUnreachableError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.byte_counter import ByteCounter
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.retry import RetryPolicy
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings

NAME = ModelName.parse("llama3")
CONTENTS = (b"large" * 1000, b"small")


class Delivered:
    """A delivery of the model's blobs, with the parts around it."""

    def __init__(self, mirror, store, server, policy):
        mirror.put(NAME.full, *CONTENTS)
        self.records = VerificationRecords(None)
        self.inspector = BlobInspector(store, self.records)
        self.report = SyncReport()
        self.destination = ServerDestination(server, store, self.inspector, self.report)
        wanted = WantedModels(mirror, [NAME])
        self.plan = ImportPlanner(wanted, store, self.destination).plan()
        downloads = BlobDownloads(wanted, store, TransferOptions(), ByteCounter(), self.report)
        self.delivery = ServerDelivery(downloads, store, self.destination, self.inspector, self.report, server, policy)
        self.arrived = []

    def deliver(self):
        blobs = self.plan.of(ADD)
        users = {blob.digest: NAME.short for blob in blobs}
        self.delivery.deliver(blobs, users, lambda transfer: self.arrived.append(transfer.digest))


@pytest.fixture
def delivered(memory_mirror, memory_server):
    with Store(StoreSettings(str(memory_server.path))) as store:
        yield Delivered(memory_mirror, store, memory_server, RetryPolicy(retries=1, base=0.0))


def test_deliver_server_not_yet_known_gets_the_smallest_blob_first(delivered):
    delivered.deliver()
    assert delivered.arrived == [digest_of(content) for content in sorted(CONTENTS, key=len)]
    assert delivered.destination.agreed


def test_deliver_blob_that_somebody_else_brought_is_not_recorded_as_sound(delivered, memory_server):
    blob = memory_server.file(digest_of(b"small"))
    blob.write_bytes(b"small")
    delivered.deliver()
    delivered.inspector.note(digest_of(b"small"))
    assert not delivered.records.knows(digest_of(b"small"), blob.stat())
    assert delivered.report.pushed == [digest_of(CONTENTS[0])]


def test_deliver_server_out_of_reach_ends_after_the_retries(delivered, memory_server):
    memory_server.errors = [ServerUnreachableError("down", remedy="Start it") for _try in range(2)]
    with pytest.raises(ServerUnreachableError):
        delivered.deliver()
    assert memory_server.errors == []
    assert delivered.arrived == []


def test_is_complete_model_whose_blob_was_pruned_is_false(delivered, memory_server):
    (model,) = delivered.plan.models
    assert not delivered.delivery.is_complete(model)
    delivered.deliver()
    assert delivered.delivery.is_complete(model)
    memory_server.file(digest_of(b"small")).unlink()
    assert not delivered.delivery.is_complete(model)
