# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects by way of the SDK: what is asked of its client, what is tried again, and what others learn from it."""

from __future__ import annotations

import io
from types import SimpleNamespace

import botocore.exceptions as sdk
import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    MirrorUnreachableError,
    ObjectMissingError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.retry import OBJECT_READS
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3 import sdk_objects
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.sdk_objects import SdkObjects
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of

SETTINGS = S3Settings("models", endpoint_url="http://127.0.0.1:9", region="r", access_key="a", secret_key="b")
PAGE = b"<ListBucketResult><Contents><Key>a</Key></Contents><IsTruncated>false</IsTruncated></ListBucketResult>"


class Body(io.BytesIO):
    """The body of an answer of the SDK."""

    @property
    def _raw_stream(self):
        return self


class Client:
    """The SDK's client. Each method takes the next of its answers: an error, or headers and a body."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    def __getattr__(self, name):
        def call(**given):
            self.asked.append((name, given))
            answer = self.answers[name].pop(0)
            if isinstance(answer, Exception):
                raise answer
            headers, body = answer
            meta = {"HTTPStatusCode": 200, "HTTPHeaders": headers}
            return {"ResponseMetadata": meta, "Body": Body(body), **headers}

        return call


class Learner:
    """Keeps which requests it could learn from."""

    def __init__(self):
        self.learned = []

    def learn(self, key):
        self.learned.append(key)


@pytest.fixture
def objects(monkeypatch):
    """Make objects of a client; the pauses between tries take no time."""
    monkeypatch.setattr(sdk_objects.time, "sleep", lambda seconds: None)

    def make(**answers):
        client, signed = Client(**answers), Learner()
        return SdkObjects(SETTINGS, client=client, signed=signed), client, signed

    return make


CUT = ({"content-length": "7"}, b"con")
WHOLE = ({"content-length": "7"}, b"content")


def test_get_answer_that_is_cut_is_read_again(objects):
    made, client, signed = objects(get_object=[CUT, WHOLE])
    assert made.get("key", 100) == b"content"
    assert len(client.asked) == 2
    assert signed.learned == ["key"]


def test_get_answer_that_is_always_cut_ends_after_the_attempts(objects):
    made, client, signed = objects(get_object=[CUT] * OBJECT_READS.attempts)
    with pytest.raises(MirrorUnreachableError):
        made.get("key", 100)
    assert len(client.asked) == OBJECT_READS.attempts
    assert signed.learned == []


def test_get_request_that_fails_is_not_repeated_here(objects):
    """The SDK has repeated it already."""
    made, client, _signed = objects(get_object=[sdk.EndpointConnectionError(endpoint_url="x")])
    with pytest.raises(MirrorUnreachableError):
        made.get("key", 100)
    assert len(client.asked) == 1


def test_get_large_object_is_read_up_to_the_limit(objects):
    made, _client, _signed = objects(get_object=[WHOLE])
    assert made.get("key", 3) == b"con"


@pytest.mark.parametrize("headers, learned", [({}, ["key"]), ({"content-encoding": "gzip"}, [])])
def test_range_compressed_answer_is_no_template(objects, headers, learned):
    made, client, signed = objects(get_object=[(headers, b"x")])
    response = made.range("key", {"Range": "bytes=0-0", "If-Match": '"e"'})
    assert (response.status, response.headers) == (200, headers)
    assert client.asked[0][1] == {"Bucket": "models", "Key": "key", "Range": "bytes=0-0", "IfMatch": '"e"'}
    assert signed.learned == learned


@pytest.mark.parametrize(
    "token, after, more", [("", "", {}), ("t", "", {"ContinuationToken": "t"}), ("", "a", {"StartAfter": "a"})]
)
def test_page_asks_for_url_encoding_and_reads_the_answer_itself(objects, token, after, more):
    made, client, _signed = objects(list_objects_v2=[({}, b"")])
    listed = client.list_objects_v2
    client.list_objects_v2 = lambda **given: (made.keep_list(response_dict={"body": PAGE}), listed(**given))
    page = made.page("prefix/", token, after)
    assert [entry.key for entry in page.entries] == ["a"]
    assert client.asked[0][1] == {"Bucket": "models", "Prefix": "prefix/", "EncodingType": "url", **more}


def test_page_without_an_answer_is_none(objects):
    made, _client, _signed = objects(list_objects_v2=[({}, b"")])
    assert made.page("prefix/", "", "") is None


@pytest.mark.parametrize("answer, proven", [({"ETag": '"e"'}, True), ({}, False)])
def test_put_answer_with_an_etag_proves_the_write(objects, answer, proven):
    made, client, _signed = objects(put_object=[(answer, b"")])
    assert made.put("key", b"x", digest_of(b"x")) is proven
    _name, given = client.asked[0]
    assert given["Metadata"] == {"sha256": digest_of(b"x").partition(":")[2]}


def test_delete_missing_bucket_is_translated(objects):
    meta = {"HTTPStatusCode": 404, "HTTPHeaders": {}}
    error = sdk.ClientError({"Error": {"Code": "NoSuchBucket"}, "ResponseMetadata": meta}, "DeleteObject")
    made, _client, _signed = objects(delete_object=[error])
    with pytest.raises(Exception, match="bucket models does not exist"):
        made.delete("key")


def test_head_missing_object_is_translated(objects):
    meta = {"HTTPStatusCode": 404, "HTTPHeaders": {}}
    error = sdk.ClientError({"Error": {"Code": "404"}, "ResponseMetadata": meta}, "HeadObject")
    made, _client, _signed = objects(head_object=[error])
    with pytest.raises(ObjectMissingError):
        made.head("key")


def test_client_is_created_once_and_tells_which_server_it_found(monkeypatch):
    registered = []
    meta = SimpleNamespace(
        endpoint_url="http://found:1", events=SimpleNamespace(register=lambda *given: registered.append(given))
    )
    created = []
    monkeypatch.setattr(
        sdk_objects,
        "connect",
        lambda settings, *, connections: created.append(connections) or SimpleNamespace(meta=meta),
    )
    made = SdkObjects(S3Settings("models", profile="lab"), connections=3)
    assert made.client is made.client
    assert created == [3]
    assert made.settings.where == "http://found:1"
    assert registered == [("response-received.s3.ListObjectsV2", made.keep_list)]
