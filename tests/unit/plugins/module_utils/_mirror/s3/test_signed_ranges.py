# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ranges that are signed as the SDK signs: what they have in common with its requests, and what is left to it."""

from __future__ import annotations

import botocore.exceptions as sdk
import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.client import connect
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.signed_ranges import SdkBody, SignedRanges
from botocore.awsrequest import AWSResponse

SETTINGS = S3Settings("models", endpoint_url="http://127.0.0.1:9", region="r", access_key="a", secret_key="b")
ASKED = {"Range": "bytes=2-4", "If-Match": '"e"'}


class Raw:
    """urllib3's answer."""

    def __init__(self, status, headers, content):
        self.status = status
        self.headers = headers
        self.content = content
        self.ended = []

    def read(self, amount=None):
        piece, self.content = self.content[:amount], self.content[len(self.content[:amount]) :]
        return piece

    def stream(self):
        yield self.content

    def close(self):
        self.ended.append("close")

    def release_conn(self):
        self.ended.append("release")


def fail(error):
    raise error


@pytest.fixture(scope="module")
def client():
    return connect(SETTINGS)


@pytest.fixture
def server(client, monkeypatch):
    """The next answer, and the requests that were sent."""

    class Server:
        answer = (200, {"Content-Length": "7", "ETag": '"e"'}, b"content")
        requests = []
        raws = []

        def send(self, request):
            self.requests.append(request)
            if isinstance(self.answer, Exception):
                fail(self.answer)
            status, headers, content = self.answer
            self.raws.append(Raw(status, headers, content))
            return AWSResponse(request.url, status, headers, self.raws[-1])

    made = Server()
    made.requests, made.raws = [], []
    monkeypatch.setattr(client._endpoint.http_session, "send", made.send)
    return made


@pytest.fixture
def signed(client, server):
    """Ranges that have learned from one request of the SDK."""
    made = SignedRanges()
    made.watch(client)
    client.get_object(Bucket="models", Key="a b/c")
    made.learn("a b/c")
    server.requests.clear()
    return made


def test_range_before_anything_was_learned_is_left_to_the_sdk(client, server):
    made = SignedRanges()
    assert made.range("key", ASKED) is None
    made.watch(client)
    assert made.range("key", ASKED) is None
    made.learn("key")  # no request for it was seen
    assert made.range("key", ASKED) is None
    assert server.requests == []


def test_range_learned_is_signed_like_the_sdks_request(signed, server):
    server.answer = (206, {"Content-Length": "3", "content-range": "bytes 2-4/7"}, b"nte")
    response = signed.range("x/y z", ASKED)
    (request,) = server.requests
    assert request.url == "http://127.0.0.1:9/models/x/y%20z"
    assert request.headers["Range"] == "bytes=2-4"
    assert "Credential=a/" in str(request.headers["Authorization"])
    view = memoryview(bytearray(3))
    assert (response.status, response.body.readinto(view), bytes(view)) == (206, 3, b"nte")


def test_learn_request_for_another_key_teaches_nothing(client, server):
    made = SignedRanges()
    made.watch(client)
    client.get_object(Bucket="models", Key="one")
    made.learn("two")
    server.requests.clear()
    assert made.range("one", ASKED) is None
    assert server.requests == []


@pytest.mark.parametrize(
    "status, headers", [(403, {}), (301, {}), (503, {}), (200, {"Content-Type": "text/html; charset=utf-8"})]
)
def test_range_answer_without_content_is_left_to_the_sdk(signed, server, status, headers):
    server.answer = (status, headers, b"no")
    assert signed.range("key", ASKED) is None
    assert server.raws[-1].ended == ["close"]


@pytest.mark.parametrize(
    "error",
    [
        sdk.EndpointConnectionError(endpoint_url="x"),
        sdk.NoCredentialsError(),
        sdk.ClientError({"Error": {"Code": "ExpiredToken"}}, "AssumeRole"),
    ],
)
def test_range_request_that_fails_is_left_to_the_sdk(signed, server, error):
    server.answer = error
    assert signed.range("key", ASKED) is None


def test_other_reads_are_left_to_the_sdk(signed, server):
    assert signed.get("key", 10) is None
    assert signed.head("key") is None
    assert signed.page("prefix", "", "") is None
    assert server.requests == []


@pytest.mark.parametrize("signature, learned", [("v4", True), ("s3v4", True), ("s3", False), (None, False)])
def test_watch_only_signatures_of_version_4_teach(signature, learned):
    class Request:
        url = "http://s3.lab/models/key"
        headers = {"User-Agent": "sdk"}
        context = {"signing": {"region": "elsewhere"}}

    made = SignedRanges()
    made._watch(request=Request(), signing_name="s3", region_name="r", signature_version=signature, request_signer=None)
    made.learn("key")
    assert (made._model is not None) is learned
    if learned:
        assert (made._model.base, made._model.region) == ("http://s3.lab/models/", "elsewhere")


@pytest.mark.parametrize(
    "length, read, ended", [(7, 7, ["release"]), (7, 3, ["close", "release"]), (None, 7, ["close", "release"])]
)
def test_sdk_body_only_a_whole_answer_keeps_the_connection(length, read, ended):
    raw = Raw(200, {}, b"content")
    body = SdkBody(raw, length)
    view = memoryview(bytearray(read))
    assert body.readinto(view) == read
    assert bytes(view) == b"content"[:read]
    body.close()
    assert raw.ended == ended
