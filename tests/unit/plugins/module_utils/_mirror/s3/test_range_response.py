# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers to requests for ranges: which are believed to have the bytes that were asked for."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import MirrorError, ObjectChangedError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.range_response import (
    RangeResponse,
    check_range,
    sender,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings

SETTINGS = S3Settings("models", endpoint_url="http://127.0.0.1:9")


def check(status, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    check_range(RangeResponse(None, status, named), 10, 20, 100, SETTINGS, "s3://models/key")


@pytest.mark.parametrize(
    "status, headers",
    [
        (206, {"content_range": "bytes 10-19/100", "content_length": "10"}),
        (206, {"content_range": "bytes 10-19/*"}),
        (206, {}),
    ],
)
def test_check_range_headers_that_can_be_right_pass(status, headers):
    check(status, **headers)


@pytest.mark.parametrize(
    "status, headers, error",
    [
        (206, {"content_range": "bytes 10-19/99"}, ObjectChangedError),
        (200, {"content_length": "99"}, ObjectChangedError),
        (200, {}, MirrorError),
        (206, {"content_range": "bytes 0-9/100"}, MirrorError),
        (206, {"content_length": "11"}, MirrorError),
        (206, {"content_encoding": "gzip", "content_length": "7"}, MirrorError),
    ],
)
def test_check_range_other_bytes_are_refused(status, headers, error):
    with pytest.raises(error) as caught:
        check(status, **headers)
    assert caught.value.__class__ is error


def test_sender_proxy_is_named():
    assert "px" in sender({"via": "1.1 px"})
    assert sender({}) == ""
