# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed ranges without the rest of the SDK, against a real server; the SDK handles refusals."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket

import pytest
import services
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    MirrorCredentialsError,
    ObjectChangedError,
    ObjectMissingError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from mirror_lab import digest_of, sdk_client

CONTENT = os.urandom(300_000)


@pytest.fixture(autouse=True)
def for_the_sdk_to_know(monkeypatch):
    """A setting that only the SDK knows, so that the SDK makes the first request."""
    monkeypatch.setenv("AWS_RETRY_MODE", "standard")


class Counted:
    """A mirror with one object, which counts the requests that the SDK makes."""

    def __init__(self, settings, key="models/some thing+ü/~blob", connections=10):
        self.mirror = Mirror(settings, connections=connections)
        self.key = key
        self.mirror.write(key, CONTENT, digest_of(CONTENT))
        self.state = self.mirror.state(key)
        self.by_sdk = 0
        sdk_client(self.mirror).meta.events.register("before-call.s3.GetObject", self.count)

    def count(self, **_event):
        self.by_sdk += 1

    def range(self, start, stop):
        view = memoryview(bytearray(stop - start))
        got = 0
        stream = self.mirror.open(self.key, start, stop, len(CONTENT), self.state.etag)
        with contextlib.closing(stream):
            while got < len(view):
                got += stream.readinto(view[got:])
        return bytes(view)


@pytest.fixture
def counted(settings):
    return Counted(settings)


def test_range_first_request_is_made_by_the_sdk_and_copied_by_the_others(counted):
    for start, stop in ((0, 1000), (1000, 250_000), (299_999, 300_000), (0, 300_000)):
        assert counted.range(start, stop) == CONTENT[start:stop]
    assert counted.by_sdk == 1


def test_range_after_a_read_manifest_needs_no_request_of_the_sdk(counted):
    assert counted.mirror.read(counted.key, 10_000_000) == CONTENT
    assert counted.range(5, 10) == CONTENT[5:10]
    assert counted.by_sdk == 1


def test_range_requests_reuse_connections(monkeypatch):
    monkeypatch.setenv("VGW_KEEP_ALIVE", "true")
    with services.s3_server() as server:
        settings = S3Settings("again", "", server.endpoint_url, server.region, server.access_key, server.secret_key)
        sdk_client(Mirror(settings)).create_bucket(Bucket=settings.bucket)
        counted = Counted(settings, connections=1)
        counted.range(0, 10)
        monkeypatch.setattr(socket.socket, "connect", lambda *_arguments: pytest.fail("it connects once more"))
        for start in range(0, 20_000, 1000):
            assert counted.range(start, start + 1000) == CONTENT[start : start + 1000]


def test_range_that_is_refused_has_the_error_of_the_sdk(counted):
    counted.range(0, 10)
    counted.mirror.write(counted.key, CONTENT[1:], digest_of(CONTENT[1:]))
    with pytest.raises(ObjectChangedError):
        counted.range(0, 10)
    counted.mirror.remove(counted.key)
    with pytest.raises(ObjectMissingError):
        counted.range(0, 10)
    assert counted.by_sdk == 3


def test_range_requests_use_the_current_credentials(counted, settings):
    """The SDK renews temporary credentials while a long download runs."""
    counted.range(0, 10)
    signer = sdk_client(counted.mirror)._request_signer
    sound = signer._credentials
    wrong = Mirror(dataclasses.replace(settings, secret_key="wrong"))
    signer._credentials = sdk_client(wrong)._request_signer._credentials
    with pytest.raises(MirrorCredentialsError):
        counted.range(0, 10)
    signer._credentials = sound
    assert counted.range(0, 10) == CONTENT[:10]
