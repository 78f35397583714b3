# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of an object, whole, missing and strange."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3 import objects
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.objects import ByteRange, ObjectState

HEX = "7e33ae3f1e88ddf3291109cc366b12dcd8bf8fe77bec53009f200a76e4649c07"
MOMENT = datetime(2026, 11, 25, 10, 30, 59, tzinfo=timezone.utc)


def test_state_of_whole_headers():
    headers = {
        "content-length": "3",
        "etag": ' "e" ',
        "last-modified": "Wed, 25 Nov 2026 10:30:59 GMT",
        "x-amz-meta-sha256": HEX,
    }
    assert objects.state_of("key", headers) == ObjectState("key", 3, '"e"', MOMENT, f"sha256:{HEX}")


@pytest.mark.parametrize(
    "modified", ["", "yesterday", "Wed, 35 Nov 2026 10:30:59 GMT", "Wed, 25 Nos 2026 10:30:59 GMT"]
)
def test_state_of_size_alone_is_enough(modified):
    headers = {"content-length": "0", "last-modified": modified}
    assert objects.state_of("key", headers) == ObjectState("key", 0, "", None)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-length": ""},
        {"content-length": "-1"},
        {"content-length": "\u0663"},
        {"content-range": "bytes 0-0/*"},
    ],
)
def test_state_of_headers_without_size_is_none(headers):
    assert objects.state_of("key", headers) is None


def test_state_of_an_answer_to_a_range_has_the_whole_size():
    headers = {"content-length": "1", "content-range": "bytes 0-0/500"}
    assert objects.state_of("key", headers) == ObjectState("key", 500, "", None)


@pytest.mark.parametrize(
    "text, digest",
    [
        (HEX, f"sha256:{HEX}"),
        (f" {HEX.upper()}\t", f"sha256:{HEX}"),
        (f"sha256:{HEX}", f"sha256:{HEX}"),
        (f"SHA256-{HEX}", f"sha256:{HEX}"),
        ("fjOuPx6I3fMpEQnMNmsS3Ni/j+d77FMAnyAKduRknAc=", None),
        ("../../../../tmp/zz", None),
        (f"{HEX}, {HEX}", None),
        (HEX[:-1], None),
        ("", None),
        (None, None),
    ],
)
def test_recorded_digest_other_spellings_count_and_nonsense_does_not(text, digest):
    assert objects.recorded_digest(text) == digest


@pytest.mark.parametrize(
    "text, found",
    [
        ("bytes 0-99/500", ByteRange(0, 99, 500)),
        ("bytes 0-99/*", ByteRange(0, 99, None)),
        ("bytes */0", ByteRange(None, None, 0)),
        ("bytes 0-99", None),
        ("items 0-9/10", None),
        ("bytes -1-99/500", None),
        ("", None),
    ],
)
def test_byte_range_headers(text, found):
    assert objects.byte_range({"content-range": text}) == found


@pytest.mark.parametrize(
    "encoding, coded",
    [("gzip", "gzip"), ("BR", "br"), ("aws-chunked", ""), ("aws-chunked, gzip", "gzip"), ("identity", ""), ("", "")],
)
def test_compression_only_what_changes_bytes_counts(encoding, coded):
    assert objects.compression({"content-encoding": encoding}) == coded


@pytest.mark.parametrize(
    "etag, header",
    [
        ('"e"', {"If-Match": '"e"'}),
        ("e-2", {"If-Match": '"e-2"'}),
        ('W/"e"', {}),
        ("", {}),
        ('"\u00e9"', {}),
        ('"a b"', {}),
        ('"a"b"', {}),
    ],
)
def test_if_match_only_for_etags_that_can_match(etag, header):
    assert objects.if_match(etag) == header
