# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripted server does what S3 does unless it is odd, each oddity shows, and the judge finds planted faults."""

from __future__ import annotations

import boto3
import botocore.config
import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from botocore.exceptions import ClientError
from odd_judge import judge
from odd_s3.bucket import Bucket
from odd_s3.catalogue import CATALOGUE
from odd_s3.oddities import Manner
from odd_s3.request import Request
from odd_s3.server import Scene
from odd_tasks import TASKS


@pytest.fixture
def client(odd_server):
    """The SDK's client for an empty bucket that is not odd."""
    odd_server.scene = Scene(Bucket())
    return boto3.client(
        "s3",
        endpoint_url=odd_server.url,
        region_name="us-east-1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )


def test_scripted_server_returns_an_object_with_its_metadata(client):
    client.put_object(Bucket="models", Key="a b/ü+1", Body=b"content", Metadata={"sha256": "x"})
    state = client.head_object(Bucket="models", Key="a b/ü+1")
    assert (state["ContentLength"], state["Metadata"]) == (7, {"sha256": "x"})
    part = client.get_object(Bucket="models", Key="a b/ü+1", Range="bytes=2-4", IfMatch=state["ETag"])
    assert (part["Body"].read(), part["ContentRange"]) == (b"nte", "bytes 2-4/7")


@pytest.mark.parametrize(
    "asked, code",
    [
        ({"Key": "none"}, "NoSuchKey"),
        ({"Key": "one", "IfMatch": '"another"'}, "PreconditionFailed"),
        ({"Key": "one", "Range": "bytes=7-9"}, "InvalidRange"),
    ],
)
def test_scripted_server_answers_a_missing_object_with_the_code_of_s3(client, asked, code):
    client.put_object(Bucket="models", Key="one", Body=b"1")
    with pytest.raises(ClientError) as refused:
        client.get_object(Bucket="models", **asked)
    assert refused.value.response["Error"]["Code"] == code


@pytest.mark.parametrize("space", ["+", "%20"])
@pytest.mark.parametrize("empty", [False, True])
def test_scripted_server_listing_by_pages_is_complete(odd_server, client, space, empty):
    keys = [f"a b/{number:02}%2B+ü" for number in range(7)]
    for key in [*keys, "another"]:
        client.put_object(Bucket="models", Key=key, Body=b"1")
    manners = (Manner(name="page_size", value=2), Manner(name="space", value=space))
    odd_server.scene = Scene(odd_server.scene.bucket, (*manners, Manner(name="empty_pages", value=empty)))
    for method in ("list_objects_v2",) if empty else ("list_objects_v2", "list_objects"):
        pages = list(client.get_paginator(method).paginate(Bucket="models", Prefix="a b/"))
        found = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        # botocore takes a plus for a plus, whatever the server means by it.
        assert [key.replace("a+b/", "a b/") for key in found] == keys
        assert len(pages) >= 4


def test_scripted_server_upload_of_parts_becomes_an_object(client):
    which = {"Bucket": "models", "Key": "large"}
    upload = {**which, "UploadId": client.create_multipart_upload(**which, Metadata={"sha256": "x"})["UploadId"]}
    etags = [client.upload_part(**upload, PartNumber=number, Body=b"%d" % number)["ETag"] for number in (2, 1)]
    parts = [{"PartNumber": 1, "ETag": etags[1]}, {"PartNumber": 2, "ETag": etags[0]}]
    client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    answer = client.get_object(**which)
    assert (answer["Body"].read(), answer["Metadata"]) == (b"12", {"sha256": "x"})
    with pytest.raises(ClientError, match="NoSuchUpload"):
        client.abort_multipart_upload(**upload)


def test_scripted_server_removed_objects_are_gone(odd_server, client):
    for key in ("one", "two", "three"):
        client.put_object(Bucket="models", Key=key, Body=b"1")
    client.delete_object(Bucket="models", Key="one")
    client.delete_objects(Bucket="models", Delete={"Objects": [{"Key": "two"}]})
    assert set(odd_server.scene.bucket.objects) == {"three"}


def _requests() -> list[Request]:
    """One request of each kind, in an order in which each has an effect."""
    blob, manifest = "/models/m/blobs/sha256-1", "/models/m/manifests/h/library/b/latest"
    large, other = "/models/m/large", "/models/m/none"
    metadata = {"x-amz-meta-sha256": "1f"}
    listing = "/models?list-type=2&encoding-type=url&prefix=m%2F"
    return [
        Request("PUT", "/models/m/a%20b", metadata, b"1"),
        Request("PUT", blob, metadata, b"12345"),
        Request("PUT", manifest, metadata, b"{}"),
        *(Request("PUT", f"/models/m/{number}", metadata, b"2") for number in range(9)),
        Request("POST", f"{large}?uploads", metadata),
        Request("PUT", f"{large}?uploadId=upload-13&partNumber=1", {}, b"part"),
        Request("POST", f"{large}?uploadId=upload-13", {}, b"<x/>"),
        Request("POST", f"{large}?uploads", metadata),
        Request("DELETE", f"{large}?uploadId=upload-15", {}),
        *(Request("HEAD", key, {}) for key in (blob, manifest, other)),
        *(Request("GET", key, {"accept-encoding": "gzip"}) for key in (blob, manifest, other)),
        Request("GET", blob, {"range": "bytes=1-2", "if-match": '"827ccb0eea8a706c4c34a16891f84e7b"'}),
        Request("GET", listing, {"accept-encoding": "gzip"}),
        Request("GET", f"{listing}&start-after=m%2F1", {}),
        Request("GET", f"{listing}&continuation-token=t-6d2f31", {}),
        Request("DELETE", blob, {}),
    ]


def test_oddity_of_the_catalogue_shows_in_some_answer():
    def answers(oddities):
        scene = Scene(Bucket(), oddities)
        return [scene.answer(request).on_the_wire(request.method) for request in _requests()]

    plain = answers(())
    assert answers(()) == plain
    idle = [
        oddities
        for oddities in CATALOGUE
        if answers(oddities) == (plain if len(oddities) == 1 else answers(oddities[:1]))
    ]
    assert not idle


_references = Mirror.references


def _forgets_users(mirror, **options):
    found = _references(mirror, **options)
    found.users.clear()
    return found


def _knows_no_etag(mirror, key):
    raise KeyError("ETag")


def _asks_again(mirror, name):
    while mirror.read(mirror.layout.manifest_key(name), 1):
        pass


def _says_nothing_is_there(mirror, prefix):
    return iter(())


@pytest.mark.parametrize(
    "task, method, fault, said",
    [
        ("absent", "references", _forgets_users, "has lost sha256:"),
        ("publish and prune", "references", _forgets_users, "has lost sha256:"),
        ("publish", "state", _knows_no_etag, "it fails unexpectedly"),
        ("import", "manifest", _asks_again, "it asks without end"),
        ("info", "entries", _says_nothing_is_there, "0 models and 0 broken ones are listed of 5"),
        ("absent", "remove_manifest", lambda mirror, name: True, "is still there"),
    ],
)
def test_judge_planted_fault_is_found(odd_server, monkeypatch, task, method, fault, said):
    assert not judge(odd_server, TASKS[task], ())
    monkeypatch.setattr(Mirror, method, fault)
    assert any(said in wrong for wrong in judge(odd_server, TASKS[task], ()))
