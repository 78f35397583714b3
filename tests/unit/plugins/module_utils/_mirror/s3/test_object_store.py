# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of readers: who is asked in which order, and who writes."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    MirrorAccessError,
    MirrorSettingsError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3 import object_store
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.object_list import ListPage
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.object_store import ReaderChain, connected
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.range_response import RangeResponse
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings

SETTINGS = S3Settings("models", endpoint_url="http://127.0.0.1:9", region="r", access_key="a", secret_key="b")
READS = {
    "get": (("key", 10), b"content"),
    "head": (("key",), {"etag": '"e"'}),
    "range": (("key", {"Range": "bytes=0-0"}), RangeResponse(None, 206, {})),
    "page": (("prefix", "token", "after"), ListPage(())),
}


class Reader:
    """Answers every read with the same, and keeps what it was asked."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self.settings = SETTINGS

    def __getattr__(self, name):
        def call(*given):
            self.asked.append((name, *given))
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return call


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("answering", [0, 1, 2])
def test_chain_first_reader_that_answers_is_the_last_that_is_asked(read, answering):
    given, answer = READS[read]
    readers = [Reader(answer if number == answering else None) for number in range(3)]
    assert getattr(ReaderChain(readers[:2], readers[2]), read)(*given) is answer
    assert [len(reader.asked) for reader in readers] == [int(number <= answering) for number in range(3)]
    assert readers[answering].asked == [(read, *given)]


@pytest.mark.parametrize("read, answer", [("get", b""), ("head", {})])
def test_chain_empty_answer_is_an_answer(read, answer):
    first, sdk = Reader(answer), Reader(None)
    assert getattr(ReaderChain([first], sdk), read)(*READS[read][0]) == answer
    assert sdk.asked == []


@pytest.mark.parametrize("read", READS)
def test_chain_error_of_the_sdk_is_the_callers(read):
    chain = ReaderChain([Reader(None)], Reader(MirrorAccessError("no")))
    with pytest.raises(MirrorAccessError):
        getattr(chain, read)(*READS[read][0])


@pytest.mark.parametrize(
    "call, given",
    [("first_byte", ("key",)), ("put", ("key", b"x", "d")), ("begin_upload", ("key", "d")), ("delete", ("key",))],
)
def test_chain_what_only_the_sdk_does_is_asked_of_no_other(call, given):
    fast, sdk = Reader(b"fast"), Reader(True)
    getattr(ReaderChain([fast], sdk), call)(*given)
    assert fast.asked == []
    assert sdk.asked == [(call, *given)]


def test_chain_settings_are_those_of_the_sdk():
    sdk = Reader(None)
    assert ReaderChain([], sdk).settings is sdk.settings


@pytest.mark.parametrize("possible, connects", [(True, 0), (False, 1)])
def test_connected_sdk_is_loaded_at_once_only_if_every_request_needs_it(monkeypatch, possible, connects):
    count = []
    monkeypatch.setattr(object_store.PlainReads, "possible", possible)
    monkeypatch.setattr(object_store.SdkObjects, "connect", lambda self: count.append(1))
    connected(SETTINGS)
    assert len(count) == connects


def test_connected_impossible_settings_are_refused():
    with pytest.raises(MirrorSettingsError):
        connected(S3Settings("models", endpoint_url="no url"))
