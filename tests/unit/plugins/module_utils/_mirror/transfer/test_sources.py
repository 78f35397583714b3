# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An object as a source of the engine: replaced objects, odd ETags, and damage that is named."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    ObjectChangedError,
    ObjectMissingError,
    WrongDigestError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.objects import ObjectState
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.sources import ObjectSource

KEY = "a/blob"


@pytest.fixture
def source(memory_mirror):
    memory_mirror.objects[KEY] = b"0123456789"
    return ObjectSource(memory_mirror, memory_mirror.state(KEY))


def read(stream, count):
    view = memoryview(bytearray(count))
    assert stream.readinto(view) == count
    return bytes(view)


def test_open_range_has_the_bytes_that_were_asked_for(source):
    assert read(source.open(3, 7), 4) == b"3456"


def test_open_replaced_object_is_changed_until_it_is_refreshed(source, memory_mirror):
    memory_mirror.objects[KEY] = b"abcdefghij"
    with pytest.raises(ObjectChangedError):
        source.open(3, 7)
    source.refresh(source.version)
    assert read(source.open(3, 7), 4) == b"defg"


def test_open_server_that_refuses_its_own_etag_is_asked_without(source, memory_mirror, monkeypatch):
    answer = memory_mirror.store.range

    def refuse(key, asked):
        if "If-Match" in asked:
            raise ObjectChangedError("another ETag", status=412)
        return answer(key, asked)

    monkeypatch.setattr(memory_mirror.store, "range", refuse)
    assert read(source.open(0, 4), 4) == b"0123"
    assert len(memory_mirror.remarks) == 1
    assert read(source.open(4, 8), 4) == b"4567"
    assert len(memory_mirror.remarks) == 1


def test_refresh_removed_object_is_missing(source, memory_mirror):
    del memory_mirror.objects[KEY]
    with pytest.raises(ObjectMissingError, match="was removed during the read"):
        source.refresh(source.version)


def test_refresh_object_of_another_size_cannot_be_the_same(source, memory_mirror):
    memory_mirror.objects[KEY] = b"short"
    with pytest.raises(ObjectChangedError, match="had 10 bytes and was replaced by 5"):
        source.refresh(source.version)


@pytest.mark.parametrize(
    "recorded, given, remedy",
    [(None, True, "Correct checksum"), ("sha256:1", True, "remove the object"), (None, False, "remove the object")],
)
def test_name_damage_remedy_depends_on_who_gave_the_digest(memory_mirror, recorded, given, remedy):
    error = WrongDigestError("wrong", digest="sha256:1", found="sha256:2")
    ObjectSource(memory_mirror, ObjectState(KEY, 1, "", None, recorded)).name_damage(error, checksum_given=given)
    assert error.message == "The content of s3://models/a/blob has the digest sha256:2, not sha256:1"
    assert remedy in error.remedy
    assert error.details["key"] == KEY
