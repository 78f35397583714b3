# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Multipart uploads by way of the SDK: what is asked of its client, and answers without what S3 must say."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    MirrorAccessError,
    MirrorError,
    NotS3Error,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.bodies import BodySender
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.sdk_upload import SdkUpload
from botocore.exceptions import ClientError

from .test_sdk_objects import SETTINGS, Client

DIGEST = "sha256:" + "a" * 64
BEGUN = ({"UploadId": "u-1"}, b"")
PLACE = {"Bucket": "models", "Key": "some/key", "UploadId": "u-1"}
DENIED = ClientError(
    {"Error": {"Code": "AccessDenied", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "Upload"
)


def begun(**answers):
    """Begin an upload; return it, and the client."""
    client = Client(create_multipart_upload=[BEGUN], **answers)
    return SdkUpload(client, BodySender(), SETTINGS, "some/key", DIGEST), client


def test_begin_records_the_digest_and_keeps_the_name():
    upload, client = begun()
    assert upload.name == "u-1"
    ((method, given),) = client.asked
    assert (method, given["Bucket"], given["Key"]) == ("create_multipart_upload", "models", "some/key")
    assert given["Metadata"] == {"sha256": "a" * 64}


@pytest.mark.parametrize("answer", [{}, {"UploadId": ""}, {"UploadId": None}])
def test_begin_answer_without_a_name_is_not_from_an_s3_server(answer):
    client = Client(create_multipart_upload=[(answer, b"")])
    with pytest.raises(NotS3Error, match="without an UploadId") as refused:
        SdkUpload(client, BodySender(), SETTINGS, "some/key", DIGEST)
    assert "s3://models/some/key" in str(refused.value)


def test_send_part_goes_under_its_number_and_returns_its_etag():
    upload, client = begun(upload_part=[({"ETag": '"one"'}, b"")])
    assert upload.send(7, b"content") == '"one"'
    assert client.asked[1:] == [("upload_part", {"Body": b"content", **PLACE, "PartNumber": 7})]


@pytest.mark.parametrize("answer", [{}, {"ETag": ""}, {"ETag": None}])
def test_send_answer_without_an_etag_is_an_error(answer):
    upload, _client = begun(upload_part=[(answer, b"")])
    with pytest.raises(MirrorError, match="without an ETag for a part") as refused:
        upload.send(1, b"content")
    assert "proxy" in str(refused.value)


def test_complete_parts_are_named_in_the_order_of_their_numbers():
    upload, client = begun(complete_multipart_upload=[({"ETag": '"all"'}, b"")])
    assert upload.complete({10: '"c"', 2: '"b"', 1: '"a"'})
    ((_method, given),) = client.asked[1:]
    assert given == {
        **PLACE,
        "MultipartUpload": {
            "Parts": [
                {"PartNumber": 1, "ETag": '"a"'},
                {"PartNumber": 2, "ETag": '"b"'},
                {"PartNumber": 10, "ETag": '"c"'},
            ]
        },
    }


@pytest.mark.parametrize("answer", [{}, {"ETag": ""}])
def test_complete_answer_without_an_etag_proves_nothing(answer):
    upload, _client = begun(complete_multipart_upload=[(answer, b"")])
    assert upload.complete({1: '"a"'}) is False


def test_abort_names_the_upload():
    upload, client = begun(abort_multipart_upload=[({}, b"")])
    upload.abort()
    assert client.asked[1:] == [("abort_multipart_upload", PLACE)]


@pytest.mark.parametrize(
    "method, step, doing",
    [
        ("upload_part", lambda upload: upload.send(1, b"x"), "write s3://models/some/key"),
        ("complete_multipart_upload", lambda upload: upload.complete({1: '"a"'}), "write s3://models/some/key"),
        ("abort_multipart_upload", lambda upload: upload.abort(), "end the upload"),
    ],
)
def test_error_of_the_sdk_names_the_step(method, step, doing):
    upload, _client = begun(**{method: [DENIED]})
    with pytest.raises(MirrorAccessError) as refused:
        step(upload)
    assert doing in str(refused.value)


def test_begin_error_of_the_sdk_names_the_object():
    with pytest.raises(MirrorAccessError, match="s3://models/some/key"):
        SdkUpload(Client(create_multipart_upload=[DENIED]), BodySender(), SETTINGS, "some/key", DIGEST)
