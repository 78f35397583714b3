# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of servers and proxies that leave headers out, weaken them, or refuse requests that they should answer."""

from __future__ import annotations

import io

import botocore.exceptions as sdk
import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror import errors
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.objects import ObjectState
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.sdk_objects import SdkObjects
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.sources import ObjectSource
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName

SETTINGS = S3Settings("models", endpoint_url="http://127.0.0.1:9", region="r", access_key="a", secret_key="b")
HEX = "7e33ae3f1e88ddf3291109cc366b12dcd8bf8fe77bec53009f200a76e4649c07"


def failing(code, status, headers=()):
    meta = {"HTTPStatusCode": status, "HTTPHeaders": dict(headers)}
    return sdk.ClientError({"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": meta}, "x")


class Body(io.BytesIO):
    """The body of an answer of the SDK."""

    @property
    def _raw_stream(self):
        return self

    def release_conn(self):
        pass


class Client:
    """The SDK's client. Each method takes the next of its answers: an error, or headers (and status) and a body.

    :ivar asked: the method and the parameters of each request.
    """

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
            meta = {"HTTPStatusCode": int(headers.get(":status", 200)), "HTTPHeaders": headers}
            return {"ResponseMetadata": meta, "Body": Body(body)}

        return call


@pytest.fixture
def mirror():
    """Make a mirror whose requests all go to a client of the SDK."""

    def make(**answers):
        client = Client(**answers)
        return Mirror(SETTINGS, objects=SdkObjects(SETTINGS, client=client)), client

    return make


FOUND = ({":status": "206", "content-range": "bytes 0-0/500", "etag": '"e"', "x-amz-meta-sha256": HEX.upper()}, b"x")


@pytest.mark.parametrize(
    "head", [({"etag": '"e"'}, b""), failing("405", 405), failing("400", 400), failing("404", 404)]
)
def test_find_head_that_does_not_tell_is_made_up_for_by_a_first_byte(mirror, head):
    made, client = mirror(head_object=[head], get_object=[FOUND])
    assert made.find("key") == ObjectState("key", 500, '"e"', None, f"sha256:{HEX}")
    assert client.asked[-1][1]["Range"] == "bytes=0-0"


def test_state_empty_object_without_length_is_known_by_its_refused_range(mirror):
    made, _client = mirror(
        head_object=[({}, b"")], get_object=[failing("InvalidRange", 416, {"content-range": "bytes */0"})]
    )
    assert made.state("key") == ObjectState("key", 0, "", None)


def test_state_refused_head_of_a_missing_object_is_none(mirror):
    made, _client = mirror(head_object=[failing("403", 403)], get_object=[failing("NoSuchKey", 404)])
    assert made.state("key") is None


def test_state_404_that_is_not_of_s3_is_no_missing_object(mirror):
    made, _client = mirror(head_object=[failing("403", 403)], get_object=[failing("404", 404)])
    with pytest.raises(errors.NotS3Error):
        made.state("key")


def test_state_without_any_size_names_the_headers(mirror):
    made, _client = mirror(head_object=[({}, b"")], get_object=[({"server": "odd"}, b"x")])
    with pytest.raises(errors.MirrorError, match=r"neither in Content-Length nor in Content-Range .*\(Server: odd\)"):
        made.state("key")


def test_state_refused_head_gives_the_servers_reason(mirror):
    made, _client = mirror(head_object=[failing("403", 403)], get_object=[failing("AccessDenied", 403)])
    with pytest.raises(errors.MirrorAccessError, match="AccessDenied: m"):
        made.state("key")


@pytest.mark.parametrize(
    "headers",
    [
        {":status": "206", "content-range": "bytes 10-19/100", "content-length": "10"},
        {":status": "206", "content-range": "bytes 10-19/100"},
        {":status": "206", "content-range": "bytes 10-19/*", "content-length": "10"},
        {":status": "206", "content-range": "nonsense", "content-length": "10"},
        {":status": "206", "content-length": "10"},
        {":status": "206"},
        {":status": "206", "content-range": "bytes 10-19/100", "content-length": "10", "content-encoding": "gzip"},
    ],
)
def test_open_range_that_can_be_right_is_read(mirror, headers):
    made, _client = mirror(get_object=[(headers, b"0123456789")])
    view = memoryview(bytearray(10))
    assert made.open("key", 10, 20, 100, '"e"').readinto(view) == 10
    assert bytes(view) == b"0123456789"


@pytest.mark.parametrize("headers", [{"content-length": "10"}, {}])
def test_open_whole_object_may_come_without_a_range(mirror, headers):
    made, _client = mirror(get_object=[(headers, b"0123456789")])
    made.open("key", 0, 10, 10, "").close()


@pytest.mark.parametrize(
    "headers, error, says",
    [
        ({":status": "206", "content-range": "bytes 10-19/90"}, errors.ObjectChangedError, "sends 90 now"),
        ({"content-length": "90"}, errors.ObjectChangedError, "sends 90 now"),
        ({"content-length": "100"}, errors.MirrorError, "sent all of it"),
        ({}, errors.MirrorError, "sent all of it"),
        ({":status": "206", "content-range": "bytes 0-9/100"}, errors.MirrorError, "sent bytes 0 to 9"),
        ({":status": "206", "content-length": "9"}, errors.MirrorError, "sent 9 bytes"),
        ({":status": "206", "content-encoding": "gzip", "via": "1.1 px"}, errors.MirrorError, "gzip.*px"),
    ],
)
def test_open_other_bytes_are_refused_by_the_servers_name(mirror, headers, error, says):
    made, _client = mirror(get_object=[(headers, b"")])
    with pytest.raises(error, match=says) as caught:
        made.open("key", 10, 20, 100, '"e"')
    assert "http://127.0.0.1:9" in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("etag, sent", [('"e"', '"e"'), ("e", '"e"'), ('W/"e"', None), ("", None)])
def test_open_asks_for_an_etag_that_can_match(mirror, etag, sent):
    made, client = mirror(get_object=[({":status": "206"}, b"")])
    made.open("key", 10, 20, 100, etag)
    assert client.asked[0][1].get("IfMatch") == sent


def test_source_server_that_refuses_its_own_etag_is_read_without(mirror):
    head = {"content-length": "100", "etag": '"e"'}
    made, client = mirror(
        head_object=[(head, b"")],
        get_object=[failing("PreconditionFailed", 412), ({":status": "206"}, b""), ({":status": "206"}, b"")],
    )
    state = ObjectState("key", 100, '"e"', None)
    ObjectSource(made, state).open(10, 20)
    ObjectSource(made, state).open(20, 30)
    assert [given.get("IfMatch") for name, given in client.asked if name == "get_object"] == ['"e"', None, None]
    assert len(made.remarks) == 1
    assert "http://127.0.0.1:9 answers 412 to its own ETag" in made.remarks[0]


def test_source_object_that_was_replaced_is_a_changed_one(mirror):
    head = {"content-length": "100", "etag": '"new"'}
    made, _client = mirror(head_object=[(head, b"")], get_object=[failing("PreconditionFailed", 412)])
    with pytest.raises(errors.ObjectChangedError):
        ObjectSource(made, ObjectState("key", 100, '"e"', None)).open(10, 20)
    assert made.remarks == []


def test_read_without_length_returns_all(mirror):
    made, _client = mirror(get_object=[({}, b"content")])
    assert made.read("key", 100) == b"content"


def test_read_compressed_answer_names_the_proxy(mirror):
    made, _client = mirror(get_object=[({"content-encoding": "gzip", "via": "1.1 px"}, b"\x1f\x8b")])
    with pytest.raises(errors.MirrorError, match=r"Content-Encoding: gzip.*\(Via: 1.1 px\)") as caught:
        made.read("key", 100)
    assert "compression" in caught.value.remedy


def test_manifest_web_page_in_its_place_is_not_s3(mirror):
    made, _client = mirror(get_object=[({"etag": '"e"'}, b"\n<html><title>Sign in</title></html>")])
    with pytest.raises(errors.NotS3Error, match="sent the page 'Sign in'"):
        made.manifest(ModelName.parse("x"))
