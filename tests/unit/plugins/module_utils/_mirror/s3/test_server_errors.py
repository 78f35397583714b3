# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that a server names: their kinds, their words, and what they say of the request."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    MirrorAccessError,
    MirrorBusyError,
    MirrorError,
    ObjectMissingError,
    WrongRegionError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.server_errors import of_answer
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings

SETTINGS = S3Settings("models", endpoint_url="http://s3.lab", access_key="key", secret_key="very secret")


def error(code, status, doing="read s3://models/key", message="words", **headers):
    meta = {"HTTPStatusCode": status, "HTTPHeaders": {name.replace("_", "-"): text for name, text in headers.items()}}
    return of_answer({"Error": {"Code": code, "Message": message}, "ResponseMetadata": meta}, SETTINGS, doing)


def test_of_answer_known_code_has_its_kind_and_details():
    found = error("NoSuchKey", 404)
    assert found.__class__ is ObjectMissingError
    assert found.details == {"status": 404, "s3_code": "NoSuchKey", "endpoint": "http://s3.lab", "bucket": "models"}
    assert "NoSuchKey: words" in found.message


@pytest.mark.parametrize("code, status", [("", 503), ("Odd", 599)])
def test_of_answer_unknown_failure_of_the_server_is_busy(code, status):
    assert error(code, status).__class__ is MirrorBusyError


def test_of_answer_unknown_code_is_named_with_the_status():
    found = error("Odd", 418)
    assert found.__class__ is MirrorError
    assert "answered 418 Odd: words" in found.message


@pytest.mark.parametrize(
    "doing, right", [("write x", "s3:PutObject"), ("list x", "s3:ListBucket"), ("remove x", "s3:DeleteObject")]
)
def test_of_answer_denial_names_the_right(doing, right):
    found = error("AccessDenied", 403, doing)
    assert found.__class__ is MirrorAccessError
    assert right in found.remedy


def test_of_answer_code_of_reading_is_no_answer_to_a_write():
    assert error("NoSuchKey", 404, "write x").__class__ is MirrorError


def test_of_answer_region_in_a_header_is_the_remedy():
    found = error("PermanentRedirect", 301, x_amz_bucket_region="eu-central-1")
    assert found.__class__ is WrongRegionError
    assert "eu-central-1" in found.remedy


def test_of_answer_secret_in_the_servers_words_is_hidden():
    found = error("AccessDenied", 403, message="the key very secret may not")
    assert "very secret" not in found.message
    assert "***" in found.message
