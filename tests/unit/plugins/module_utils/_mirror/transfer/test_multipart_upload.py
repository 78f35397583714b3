# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads to servers that refuse, lose answers, or want more than others: what is reported, and what is left behind."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime, timezone

import botocore.exceptions as sdk
import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror import errors
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.objects import ObjectState
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.sdk_objects import SdkObjects
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.multipart_upload import PART_SIZE, upload

SETTINGS = S3Settings("models", endpoint_url="http://127.0.0.1:9", region="r", access_key="a", secret_key="b")
LARGE = os.urandom(PART_SIZE + 10)
MOMENT = datetime(2026, 11, 28, tzinfo=timezone.utc)


def md5(content):
    return hashlib.md5(content, usedforsecurity=False)


def refused(code, status=403, message="no"):
    return sdk.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "x"
    )


class Client:
    """The SDK's client, with a scripted server.

    :param failures: errors by the name of the method, raised in turn before it works.
    """

    def __init__(self, **failures):
        self.failures = failures
        self.asked = []
        self.written = b""

    def __getattr__(self, name):
        def call(**given):
            self.asked.append((name, given))
            errors_left = self.failures.get(name, [])
            if errors_left:
                raise errors_left.pop(0)
            return self.answers[name]

        return call

    answers = {
        "create_multipart_upload": {"UploadId": "u1"},
        "upload_part": {"ETag": '"e"'},
        "complete_multipart_upload": {"ETag": '"e-2"'},
        "abort_multipart_upload": {},
        "put_object": {"ETag": '"e"'},
    }

    def names(self):
        return [name for name, _given in self.asked]


@pytest.fixture
def sending(monkeypatch, tmp_path):
    """Upload content with a client; return the mirror."""

    def send(client, content=LARGE, digest=None, there=None):
        mirror = Mirror(SETTINGS, objects=SdkObjects(SETTINGS, client=client))
        monkeypatch.setattr(mirror, "state", lambda key: there)
        monkeypatch.setattr(mirror, "find", lambda key: there)
        path = tmp_path / "blob"
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            upload(mirror, "key", descriptor, len(content), digest or digest_of(content), str(path))
        finally:
            os.close(descriptor)
        return mirror

    return send


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def test_upload_damaged_file_is_reported_also_when_the_abort_is_refused(sending):
    client = Client(abort_multipart_upload=[refused("AccessDenied")])
    with pytest.raises(errors.WrongDigestError) as caught:
        sending(client, digest="sha256:" + "0" * 64)
    assert "u1" in caught.value.remedy
    assert "s3:AbortMultipartUpload" in caught.value.remedy


def test_upload_refused_part_is_reported_although_the_upload_is_gone(sending):
    client = Client(upload_part=[refused("QuotaExceeded")] * 9, abort_multipart_upload=[refused("NoSuchUpload", 404)])
    with pytest.raises(errors.MirrorError) as caught:
        sending(client)
    assert caught.value.details["s3_code"] == "QuotaExceeded"
    assert "u1" not in str(caught.value)


@pytest.mark.parametrize(
    "failure", [refused("NoSuchUpload", 404), refused("InternalError", 500), ConnectionResetError(104, "reset")]
)
def test_upload_lost_answer_to_completion_is_success_when_the_object_is_there(sending, failure):
    there = ObjectState("key", len(LARGE), '"e-2"', MOMENT, digest_of(LARGE))
    client = Client(complete_multipart_upload=[failure])
    sending(client, there=there)
    assert "abort_multipart_upload" not in client.names()


def test_upload_lost_answer_of_a_server_without_metadata_is_known_by_the_etag(sending):
    part = md5(b"x").hexdigest()
    whole = md5(bytes.fromhex(part) * 2).hexdigest()
    client = Client(complete_multipart_upload=[refused("NoSuchUpload", 404)])
    client.answers = {**Client.answers, "upload_part": {"ETag": f'"{part}"'}}
    sending(client, there=ObjectState("key", len(LARGE), f'"{whole}-2"', MOMENT))


@pytest.mark.parametrize(
    "there",
    [
        None,
        ObjectState("key", 1, '"e"', MOMENT, digest_of(LARGE)),
        ObjectState("key", len(LARGE), '"e"', MOMENT, "sha256:" + "0" * 64),
        ObjectState("key", len(LARGE), '"e"', MOMENT),
    ],
)
def test_upload_failed_completion_is_a_failure_when_another_object_is_there(sending, there):
    client = Client(complete_multipart_upload=[refused("NoSuchUpload", 404)])
    with pytest.raises(errors.MirrorError, match="another process ended the upload"):
        sending(client, there=there)


def test_upload_refused_completion_is_aborted(sending):
    client = Client(complete_multipart_upload=[refused("AccessDenied")])
    with pytest.raises(errors.MirrorAccessError):
        sending(client)
    assert client.names()[-1] == "abort_multipart_upload"


@pytest.mark.parametrize("content", [b"small", LARGE])
@pytest.mark.parametrize(
    "failure",
    [
        refused("InvalidRequest", 400, "Content-MD5 OR x-amz-checksum- HTTP header is required"),
        refused("MissingContentMD5", 400, ""),
    ],
)
def test_upload_bucket_with_object_lock_gets_a_checksum(sending, content, failure):
    client = Client(put_object=[failure], upload_part=[failure])
    mirror = sending(client, content)
    sent = [given for name, given in client.asked if name in ("put_object", "upload_part") and "ContentMD5" in given]
    assert len(sent) >= 1
    assert all(len(given["ContentMD5"]) == 24 for given in sent)
    client.asked.clear()
    client.failures.clear()
    mirror.write("other", b"x", digest_of(b"x"))
    assert [("ContentMD5" in given) for _name, given in client.asked] == [True]


def test_upload_other_server_gets_no_checksum(sending):
    client = Client()
    sending(client, b"small")
    assert "ContentMD5" not in client.asked[0][1]


def test_upload_request_that_stays_refused_is_made_twice_and_no_more(sending):
    client = Client(put_object=[refused("InvalidRequest", 400)] * 9)
    with pytest.raises(errors.MirrorError, match="InvalidRequest"):
        sending(client, b"small")
    assert client.names() == ["put_object", "put_object"]


def test_upload_server_that_hangs_up_on_a_body_is_asked_before_it_is_sent(sending):
    client = Client(put_object=[sdk.ConnectionClosedError(endpoint_url="x"), refused("EntityTooLarge", 413)])
    with pytest.raises(errors.MirrorError, match="too large"):
        sending(client, b"small")
    assert hasattr(client.asked[-1][1]["Body"], "read")  # then the SDK sends Expect: 100-continue


def test_upload_part_without_etag_names_the_header(sending):
    client = Client()
    client.answers = {**Client.answers, "upload_part": {}}
    with pytest.raises(errors.MirrorError, match="without an ETag"):
        sending(client)
    assert client.names()[-1] == "abort_multipart_upload"


def test_upload_without_upload_id_is_no_defect(sending):
    client = Client()
    client.answers = {**Client.answers, "create_multipart_upload": {}}
    with pytest.raises(errors.NotS3Error, match="UploadId"):
        sending(client)


@pytest.mark.parametrize("content, method", [(b"small", "put_object"), (LARGE, "complete_multipart_upload")])
def test_upload_success_that_proves_nothing_is_looked_at(sending, content, method):
    client = Client()
    client.answers = {**Client.answers, method: {}}
    with pytest.raises(errors.NotS3Error, match="answered with success, and it is not there"):
        sending(client, content)
    sending(client, content, there=ObjectState("key", len(content), "", None, digest_of(content)))


def test_look_at_written_dropped_metadata_is_remarked_once(sending):
    mirror = sending(Client(), b"small", there=ObjectState("key", 5, '"e"', MOMENT))
    mirror.look_at_written("key", digest_of(b"small"))
    mirror.look_at_written("key", digest_of(b"small"))
    assert len(mirror.remarks) == 1
    assert "http://127.0.0.1:9 drops the metadata" in mirror.remarks[0]


def test_look_at_written_kept_metadata_is_no_remark(sending):
    mirror = sending(Client(), b"small", there=ObjectState("key", 5, '"e"', MOMENT, digest_of(b"small")))
    mirror.look_at_written("key", digest_of(b"small"))
    assert mirror.remarks == []
