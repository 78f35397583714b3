# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Request bodies: what a server wants beside them, and when it is asked first."""

from __future__ import annotations

import base64
import hashlib
import sys

import botocore.exceptions as sdk
import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.bodies import BodySender
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import MissingDependencyError

MD5 = base64.b64encode(hashlib.md5(b"content", usedforsecurity=False).digest()).decode()


def refused(code, message=""):
    return sdk.ClientError({"Error": {"Code": code, "Message": message}}, "PutObject")


class Call:
    """A call of the SDK that raises these errors first."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.given = []

    def __call__(self, **given):
        self.given.append(given)
        if self.errors:
            raise self.errors.pop(0)
        return {"ETag": '"e"'}


def test_send_body_goes_without_a_checksum():
    call = Call()
    assert BodySender().send(call, b"content", Key="key") == {"ETag": '"e"'}
    assert call.given == [{"Body": b"content", "Key": "key"}]


@pytest.mark.parametrize(
    "error",
    [refused("MissingContentMD5"), refused("InvalidRequest"), refused("Odd", "x-amz-checksum- header is required")],
)
def test_send_server_that_asks_for_a_checksum_gets_it_from_then_on(error):
    sender, call = BodySender(), Call(error)
    sender.send(call, b"content")
    sender.send(call, b"content")
    assert [given.get("ContentMD5") for given in call.given] == [None, MD5, MD5]


def test_send_checksum_that_does_not_help_is_not_sent_again():
    sender, call = BodySender(), Call(refused("InvalidRequest"), refused("InvalidRequest"))
    with pytest.raises(sdk.ClientError):
        sender.send(call, b"content")
    sender.send(call, b"content")
    assert [given.get("ContentMD5") for given in call.given] == [None, MD5, None]


def test_send_other_refusal_is_the_callers():
    call = Call(refused("AccessDenied"))
    with pytest.raises(sdk.ClientError):
        BodySender().send(call, b"content")
    assert len(call.given) == 1


def test_send_server_that_hangs_up_is_asked_before_the_body_is_sent():
    call = Call(sdk.ConnectionClosedError(endpoint_url="x"))
    BodySender().send(call, b"content")
    assert call.given[1]["Body"].read() == b"content"


def test_send_without_the_sdk_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.exceptions", None)
    with pytest.raises(MissingDependencyError, match="boto3"):
        BodySender().send(Call(), b"content")
