# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads without the SDK, against a real server: the results equal the SDK's, and the SDK handles refusals."""

from __future__ import annotations

import contextlib
import dataclasses
import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    BucketMissingError,
    MirrorCredentialsError,
    MirrorUnreachableError,
    ObjectChangedError,
    ObjectMissingError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3 import sdk_objects as mirror_module
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from mirror_lab import digest_of

CONTENT = os.urandom(300_000)
KEYS = ("models/some thing+ü/~blob", "models/a&b=c/100%/<d>", "models/plain")


@pytest.fixture(autouse=True)
def nothing_else_is_said(monkeypatch):
    for name in os.environ:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture
def by_sdk(settings, monkeypatch):
    """A mirror that makes no request itself."""
    monkeypatch.setenv("AWS_RETRY_MODE", "standard")
    made = Mirror(settings)
    monkeypatch.delenv("AWS_RETRY_MODE")
    for key in KEYS:
        made.write(key, CONTENT, digest_of(CONTENT))
    return made


@pytest.fixture
def alone(by_sdk, monkeypatch):
    """A mirror that has no SDK."""
    made = Mirror(by_sdk.settings)
    monkeypatch.setattr(mirror_module, "connect", lambda *_arguments, **_options: pytest.fail("the SDK is asked for"))
    return made


def read(mirror, key, start, stop, etag):
    view = memoryview(bytearray(stop - start))
    got = 0
    with contextlib.closing(mirror.open(key, start, stop, len(CONTENT), etag)) as stream:
        while got < len(view):
            got += stream.readinto(view[got:])
    return bytes(view)


def test_plain_reads_return_the_same_as_the_sdk(by_sdk, alone):
    for key in KEYS:
        state = alone.state(key)
        assert state == by_sdk.state(key)
        assert state.digest == digest_of(CONTENT)
        assert alone.read(key, 10_000_000) == CONTENT
        assert alone.read(key, 10) == CONTENT[:10]
        for start, stop in ((0, 1000), (1000, 250_000), (299_999, 300_000), (0, 300_000)):
            assert read(alone, key, start, stop, state.etag) == CONTENT[start:stop]
    assert list(alone.entries("models/")) == list(by_sdk.entries("models/"))
    assert sorted(state.key for state in alone.entries("models/")) == sorted(KEYS)
    assert list(alone.entries("nothing/")) == []


def test_plain_read_that_is_refused_has_the_error_of_the_sdk(by_sdk):
    mirror, key = Mirror(by_sdk.settings), KEYS[0]
    etag = mirror.state(key).etag
    mirror.write(key, CONTENT[1:], digest_of(CONTENT[1:]))
    with pytest.raises(ObjectChangedError):
        read(mirror, key, 0, 10, etag)
    mirror.remove(key)
    with pytest.raises(ObjectMissingError):
        read(mirror, key, 0, 10, etag)
    assert mirror.state(key) is None


@pytest.mark.parametrize(
    "changes, error",
    [
        ({"secret_key": "wrong"}, MirrorCredentialsError),
        ({"bucket": "nowhere"}, BucketMissingError),
        ({"endpoint_url": "http://127.0.0.1:9"}, MirrorUnreachableError),
    ],
)
def test_plain_read_with_wrong_settings_has_the_error_of_the_sdk(by_sdk, changes, error, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    mirror = Mirror(dataclasses.replace(by_sdk.settings, **changes))
    with pytest.raises(error):
        list(mirror.entries("models/"))
    with pytest.raises(error):
        mirror.read(KEYS[0], 10)


def test_plain_listing_of_many_pages_is_complete(by_sdk, alone):
    keys = [f"many/{number:04d}" for number in range(1001)]
    for key in keys:
        by_sdk.write(key, b"", digest_of(b""))
    assert [state.key for state in alone.entries("many/")] == keys
