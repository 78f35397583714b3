# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads of blobs: what is counted, and where a damaged object is named."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import WrongDigestError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.blob_downloads import BlobDownloads
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.import_report import ImportReport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.plan import ADD, BlobChange
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.wanted_models import WantedModels
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.options import TransferOptions
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.partial_file import partial_name
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.byte_counter import ByteCounter
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import blob_file_name, digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName

NAME = ModelName.parse("llama3")
CONTENT = b"weights" * 3000
BLOB = BlobChange(digest_of(CONTENT), len(CONTENT), ADD)
USERS = {BLOB.digest: NAME.short}


@pytest.fixture
def downloads(memory_mirror, store):
    """Downloads with chunks of one byte, which become whole blocks."""
    memory_mirror.put(NAME.full, CONTENT)
    wanted = WantedModels(memory_mirror, [NAME])
    wanted.find_blobs([BLOB], {})
    made = BlobDownloads(wanted, store, TransferOptions(2, 1), ByteCounter(), ImportReport())
    made.expect([BLOB], USERS)
    return made


def test_run_blob_arrives_in_whole_blocks_and_its_bytes_are_counted(downloads, memory_mirror, store):
    arrived = []
    downloads.run([downloads.transfer(BLOB)], arrived.append)
    with open(store.blob_path(BLOB.digest), "rb") as file:
        assert file.read() == CONTENT
    assert [transfer.digest for transfer in arrived] == [BLOB.digest]
    assert sum(name == "range" for name, _key in memory_mirror.store.requests) == -(-len(CONTENT) // 4096)
    assert downloads._report.bytes_received == len(CONTENT)
    assert downloads._counter.read()[2:] == (len(CONTENT), len(CONTENT), 0, 0)


def test_run_damaged_object_is_named_by_its_url(downloads, memory_mirror):
    key = memory_mirror.layout.blob_key(BLOB.digest)
    memory_mirror.objects[key] = b"x" + CONTENT[1:]
    transfer = downloads.transfer(BLOB)
    downloads.run([transfer], lambda arrived: pytest.fail("it is put in place"))
    assert isinstance(transfer.error, WrongDigestError)
    assert f"s3://models/{key}" in transfer.error.message


def test_expect_partial_file_counts_as_kept(downloads, store):
    store.partials.write(partial_name(blob_file_name(BLOB.digest)), b"x" * 4096, store.ownership)
    downloads.expect([BLOB], USERS)
    reading = downloads._counter.read()
    assert (reading.what, reading.kept) == (NAME.short, 4096)


def test_expect_no_blobs_leaves_the_tally_alone(downloads):
    before = downloads._counter.read()
    downloads.expect([], {})
    assert downloads._counter.read() == before
