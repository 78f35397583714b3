# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When reads are made without the SDK, and what they make of answers."""

from __future__ import annotations

import dataclasses
import os
from datetime import datetime, timezone

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.object_store import ReaderChain
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.plain_reads import PlainReads
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.sdk_objects import SdkObjects
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.signed_ranges import SignedRanges

SETTINGS = S3Settings("models", endpoint_url="http://127.0.0.1:7070", access_key="a", secret_key="b")
NOWHERE = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
MOMENT = datetime(2026, 11, 25, 10, 30, 59, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "changes, possible",
    [
        ({}, True),
        ({"endpoint_url": None}, False),
        ({"access_key": None}, False),
        ({"secret_key": None}, False),
        ({"profile": "other"}, False),
        ({"addressing_style": "path"}, True),
        ({"addressing_style": "virtual"}, False),
        ({"bucket": "no bucket/at all"}, False),
        ({"endpoint_url": "https://127.0.0.1"}, False),
        ({"endpoint_url": "https://127.0.0.1", "validate_certs": False}, True),
        ({"endpoint_url": "https://127.0.0.1", "ca_path": "/dev/null"}, False),
        ({"endpoint_url": "https://127.0.0.1", "ca_path": "/nonexistent"}, False),
    ],
)
def test_possible_only_if_the_settings_say_everything(changes, possible):
    assert PlainReads(dataclasses.replace(SETTINGS, **changes), NOWHERE).possible is possible


@pytest.mark.parametrize(
    "environ, possible",
    [
        ({"AWS_REGION": "eu-north-1", "AWS_CA_BUNDLE": "/some/file", "LANG": "C"}, True),
        ({"AWS_ENDPOINT_URL": "http://elsewhere"}, False),
        ({"AWS_PROFILE": "other"}, False),
        ({"http_proxy": "http://proxy"}, False),
        ({"HTTPS_PROXY": "http://proxy"}, False),
    ],
)
def test_possible_not_if_the_environment_says_more(environ, possible):
    assert PlainReads(SETTINGS, {**NOWHERE, **environ}).possible is possible


@pytest.mark.parametrize("which", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_possible_not_if_a_file_says_more(tmp_path, which):
    file = tmp_path / "config"
    file.touch()
    assert PlainReads(SETTINGS, {**NOWHERE, which: str(file)}).possible
    file.write_text("[default]\nregion = eu-north-1\n")
    assert not PlainReads(SETTINGS, {**NOWHERE, which: str(file)}).possible


class Answered:
    """An answer that lies ready."""

    def __init__(self, status, headers=(), body=b""):
        self.status = status
        self.headers = dict(headers)
        self.length = len(body)
        self.body = body

    def read(self, limit):
        return self.body[:limit]

    def close(self):
        pass


@pytest.fixture
def answering(monkeypatch):
    """Reads whose requests are answered with these, in turn; what is asked for is kept."""

    def make(*answers):
        reads = PlainReads(SETTINGS, NOWHERE)
        waiting, asked = list(answers), []

        def ask(method, target, headers):
            asked.append((method, target))
            answer = waiting.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(reads._endpoint, "ask", ask)
        return reads, asked

    return make


@pytest.mark.parametrize(
    "host, sent",
    [
        ("http://s3.lab", "s3.lab"),
        ("http://s3.lab:80", "s3.lab"),
        ("http://s3.lab:7070/below/", "s3.lab:7070"),
        ("http://[::1]:7070", "[::1]:7070"),
    ],
)
def test_host_header_has_the_port_only_if_it_is_unusual(host, sent):
    assert PlainReads(dataclasses.replace(SETTINGS, endpoint_url=host), NOWHERE)._host == sent


@pytest.mark.parametrize(
    "endpoint, target",
    [("http://s3.lab/below/it/", "/below/it/models/a%20b"), ("http://[::1]:7070/x", "/x/models/a%20b")],
)
def test_get_endpoint_with_a_path_keeps_the_path(monkeypatch, endpoint, target):
    reads = PlainReads(dataclasses.replace(SETTINGS, endpoint_url=endpoint), NOWHERE)
    asked = []
    monkeypatch.setattr(
        reads._endpoint, "ask", lambda method, path, headers: asked.append(path) or Answered(200, body=b"x")
    )
    reads.get("a b", 10)
    assert asked == [target]


@pytest.mark.parametrize("status", [404, 412, 416, 429, 500, 503])
def test_get_refused_request_is_left_to_the_sdk(answering, status):
    reads, asked = answering(Answered(status), Answered(200, body=b"content"))
    assert reads.get("key", 100) is None
    assert reads.get("some key", 3) == b"con"
    assert asked == [("GET", "/models/key"), ("GET", "/models/some%20key")]


@pytest.mark.parametrize("status", [301, 307, 400, 403])
def test_range_status_that_needs_the_sdk_ends_plain_reads(answering, status):
    reads, asked = answering(Answered(status))
    assert reads.range("key", {"Range": "bytes=0-1", "If-Match": '"e"'}) is None
    assert reads.range("key", {"Range": "bytes=0-1", "If-Match": '"e"'}) is None
    assert len(asked) == 1
    assert not reads.possible


def test_get_broken_connection_is_left_to_the_sdk(answering):
    reads, _asked = answering(ConnectionResetError(), Answered(200, body=b"x"))
    assert reads.get("key", 100) is None
    assert reads.get("key", 100) == b"x"


def test_head_returns_headers_by_lower_case_names(answering):
    headers = {"etag": '"e"', "content-length": "3", "x-amz-meta-sha256": "12"}
    reads, asked = answering(Answered(200, headers, b"123"))
    assert reads.head("key") == headers
    assert asked == [("HEAD", "/models/key")]


@pytest.mark.parametrize(
    "headers", [{"content-type": "text/html; charset=utf-8"}, {"content-encoding": "gzip"}, {"content-encoding": "br"}]
)
def test_reads_web_page_or_compressed_answer_is_left_to_the_sdk(answering, headers):
    reads, _asked = answering(Answered(200, headers, b"x"), Answered(200, headers), Answered(206, headers, b"x"))
    assert reads.get("key", 100) is None
    assert reads.head("key") is None
    assert reads.range("key", {"Range": "bytes=0-0"}) is None


def listing(*keys, following=""):
    entries = "".join(f"<Contents><Key>{key}</Key><Size>3</Size></Contents>" for key in keys)
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{following}</NextContinuationToken>"
    ending = more if following else "<IsTruncated>false</IsTruncated>"
    return f"<ListBucketResult>{entries}{ending}</ListBucketResult>".encode()


def test_page_is_requested_by_its_token_or_by_the_key_before(answering):
    reads, asked = answering(*(Answered(200, body=listing("a")) for _page in range(3)))
    for token, after in (("", ""), ("n/1=", ""), ("", "a b/c")):
        assert [entry.key for entry in reads.page("a b/", token, after).entries] == ["a"]
    assert [target for _method, target in asked] == [
        "/models?encoding-type=url&list-type=2&prefix=a%20b%2F",
        "/models?continuation-token=n%2F1%3D&encoding-type=url&list-type=2&prefix=a%20b%2F",
        "/models?encoding-type=url&list-type=2&prefix=a%20b%2F&start-after=a%20b%2Fc",
    ]


@pytest.mark.parametrize("answer", [Answered(503), ConnectionResetError(), Answered(200, body=b"<ListBucketResult><")])
def test_page_that_does_not_come_is_left_to_the_sdk(answering, answer):
    reads, _asked = answering(answer)
    assert reads.page("", "", "") is None


def test_page_list_that_breaks_off_is_continued_by_the_sdk(answering):
    plain, _requests = answering(Answered(200, body=listing("a", "b", following="n")), Answered(503))
    asked = []

    class Client:
        def list_objects_v2(self, **which):
            asked.append(which)
            sdk.keep_list(response_dict={"body": listing("b", "c")})

    sdk = SdkObjects(SETTINGS, client=Client())
    mirror = Mirror(SETTINGS, objects=ReaderChain((plain, SignedRanges()), sdk))
    assert [entry.key for entry in mirror.entries("")] == ["a", "b", "c"]
    assert asked == [{"Bucket": "models", "Prefix": "", "EncodingType": "url", "ContinuationToken": "n"}]


def test_mirror_sdk_is_not_loaded_without_need(monkeypatch):
    for name in os.environ:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        "ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.sdk_objects.connect",
        lambda *_arguments, **_options: pytest.fail("the SDK is asked for"),
    )
    Mirror(SETTINGS)
