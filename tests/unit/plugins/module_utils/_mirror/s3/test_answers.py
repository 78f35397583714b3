# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that no S3 server gives, and what the SDK must not read of others."""

from __future__ import annotations

import socketserver
import threading
from dataclasses import replace

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror import errors
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.answers import (
    EXCERPT_HEADER,
    AnswerGuard,
    StrangeAnswer,
    examine,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.client import connect
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.error_translation import translated
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings
from botocore.awsrequest import AWSResponse

SETTINGS = S3Settings("models", endpoint_url="http://127.0.0.1:9", region="r", access_key="a", secret_key="b")
PAGE = b"<!DOCTYPE html><html><head><title>Console</title></head><body><br></body></html>"
HTML = {"content-type": "text/html"}
LIST = b'<?xml version="1.0"?><ListBucketResult xmlns="x"><IsTruncated>false</IsTruncated></ListBucketResult>'
ERROR = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>m</Message></Error>'


@pytest.mark.parametrize(
    "operation, status, headers, content",
    [
        ("ListObjectsV2", 200, {}, LIST),
        (
            "ListObjectsV2",
            200,
            {},
            LIST.replace(b"ListBucketResult", b"s3:ListBucketResult").replace(b"xmlns=", b"xmlns:s3="),
        ),
        ("CreateMultipartUpload", 200, {}, b"<InitiateMultipartUploadResult/>"),
        ("CompleteMultipartUpload", 200, {}, b"  <CompleteMultipartUploadResult/>"),
        ("CompleteMultipartUpload", 200, {}, b""),
        ("PutObject", 200, {"etag": '"e"'}, b""),
        ("PutObject", 200, {}, b""),
        ("DeleteObject", 204, {}, b""),
        ("HeadObject", 200, {"content-type": "text/html", "etag": '"e"'}, b""),
        ("HeadObject", 404, {}, b""),
        ("GetObject", 404, {}, ERROR % b"NoSuchKey"),
        ("GetObject", 403, {"x-amz-request-id": "1"}, b""),
        ("GetObject", 400, {}, b"<ErrorResponse><Error><Code>InvalidToken</Code></Error></ErrorResponse>"),
        ("PutObject", 413, HTML, PAGE),
        ("GetObject", 502, HTML, PAGE),
        ("GetObject", 301, {"x-amz-bucket-region": "eu-west-1"}, b""),
        ("GetObject", 301, {}, b"<Error><Code>PermanentRedirect</Code><Region>r</Region></Error>"),
    ],
)
def test_examine_answer_of_s3_passes(operation, status, headers, content):
    examine(operation, status, headers, content)


@pytest.mark.parametrize(
    "operation, status, headers, content, says",
    [
        ("ListObjectsV2", 200, HTML, PAGE, "the page 'Console'"),
        ("ListObjectsV2", 200, {}, b"", "200 with nothing"),
        ("ListObjectsV2", 200, {}, b'{"ok": true}', '{"ok": true}'),
        ("ListObjectsV2", 200, {}, LIST[:-9], "is not valid XML"),
        ("ListObjectsV2", 200, {}, (ERROR % b"AccessDenied")[:-9], "no S3 server"),
        ("DeleteObject", 200, {"etag": '"e"'}, (ERROR % b"AccessDenied")[:-9], "no S3 server"),
        ("CreateMultipartUpload", 200, HTML, PAGE, "Console"),
        ("CompleteMultipartUpload", 200, {}, b"<html></html>", "no S3 server"),
        ("PutObject", 200, HTML, PAGE, "Console"),
        ("UploadPart", 200, {}, b"ok", "'ok'"),
        ("DeleteObject", 200, HTML, b"<!-- x -->\n<HTML>gone</HTML>", "gone"),
        ("HeadObject", 200, HTML, b"", "no S3 server"),
        ("GetObject", 204, {}, b"", "204 with nothing"),
        *(
            (operation, status, {}, b"", f"interim status {status}")
            for operation in ("GetObject", "HeadObject", "PutObject", "DeleteObject", "ListObjectsV2")
            for status in (101, 102, 103, 199)
        ),
        ("GetObject", 206, {"etag": '"e"'}, b"", "206 with nothing"),
        ("DeleteObject", 206, {}, b"", "206 with nothing"),
        ("PutObject", 203, {"etag": '"e"'}, b"", "203 with nothing"),
        ("HeadObject", 206, {"etag": '"e"'}, b"", "206 with nothing"),
        ("GetObject", 403, {**HTML, "server": "WAF"}, PAGE, "(Server: WAF)"),
        ("GetObject", 404, {}, b"404 page not found\n", "404 page not found"),
        ("GetObject", 404, {}, b"", "404 with nothing"),
        ("GetObject", 400, {}, b"Client sent an HTTP request to an HTTPS server.\n", "speaks TLS"),
        (
            "GetObject",
            302,
            {"location": "https://s3.example.com/models/x?a=b"},
            b"",
            "https://s3.example.com/models/x (",
        ),
        ("GetObject", 308, {"location": "/login"}, b"", "redirects to /login"),
        ("HeadBucket", 301, {}, b"", "redirects to nowhere"),
        ("GetObject", 307, {"location": "http://x/\u202e"}, b"", "\\u202e"),
    ],
)
def test_examine_foreign_answer_is_refused_in_its_words(operation, status, headers, content, says):
    with pytest.raises(StrangeAnswer) as caught:
        examine(operation, status, headers, content)
    assert caught.value.kind is errors.NotS3Error
    assert says in caught.value.what
    assert "endpoint_url" in caught.value.remedy or "proxy" in caught.value.remedy


def test_examine_part_of_an_object_is_right_where_it_was_asked_for():
    examine("GetObject", 206, {"etag": '"e"'}, b"", ranged=True)


def test_examine_redirect_to_another_address_is_the_remedy():
    with pytest.raises(StrangeAnswer) as caught:
        examine("GetObject", 301, {"location": "https://s3.example.com:9000/models/x"}, PAGE)
    assert "Set endpoint_url to https://s3.example.com:9000:" in caught.value.remedy


def test_examine_bucket_elsewhere_without_region_names_its_endpoint():
    with pytest.raises(StrangeAnswer) as caught:
        examine("GetObject", 301, {}, b"<Error><Code>PermanentRedirect</Code><Endpoint>b.s3.lab</Endpoint></Error>")
    assert caught.value.kind is errors.WrongRegionError
    assert "b.s3.lab" in caught.value.what


class Raw:
    """The body of an answer, as urllib3 has it."""

    def __init__(self, content):
        self.content = content
        self.closed = False

    def stream(self):
        yield self.content

    def read(self, amount=None):
        return self.content[:amount]

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def client():
    return connect(SETTINGS)


@pytest.fixture
def answering(client, monkeypatch):
    """A client of the SDK whose requests are answered with the same; what was asked is kept."""

    def make(status, headers=(), content=b""):
        raws = []

        def send(request):
            raws.append(Raw(content))
            return AWSResponse(request.url, status, dict(headers), raws[-1])

        monkeypatch.setattr(client._endpoint.http_session, "send", send)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        return client, raws

    return make


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_guard_redirect_of_a_proxy_ends_after_one_request(answering, status):
    client, raws = answering(status, {"Location": "https://elsewhere/x"}, b"<html></html>")
    with pytest.raises(errors.NotS3Error, match="redirects to https://elsewhere/x"), translated(SETTINGS, "read x"):
        client.get_object(Bucket="models", Key="k")
    assert len(raws) == 1
    assert raws[0].closed


def test_guard_web_page_for_an_object_is_refused_with_its_title(answering):
    client, raws = answering(200, {"Content-Type": "text/html"}, PAGE)
    with pytest.raises(errors.NotS3Error, match="answered 200 with the page 'Console'"):
        with translated(SETTINGS, "read x"):
            client.get_object(Bucket="models", Key="k")
    assert raws[0].closed


@pytest.mark.parametrize("method", ["get_object", "head_object", "delete_object"])
def test_guard_interim_answer_is_refused_and_ends_its_connection(answering, monkeypatch, method):
    client, raws = answering(102)
    closed = []
    monkeypatch.setattr(client._endpoint.http_session, "close", lambda: closed.append(True))
    with pytest.raises(errors.NotS3Error, match="interim status 102"), translated(SETTINGS, "do x"):
        getattr(client, method)(Bucket="models", Key="k")
    assert closed and raws[0].closed


def test_guard_html_object_of_s3_passes(answering):
    client, _raws = answering(200, {"Content-Type": "text/html", "ETag": '"e"', "Content-Length": str(len(PAGE))}, PAGE)
    assert client.get_object(Bucket="models", Key="k")["Body"].read() == PAGE


def test_guard_page_of_a_failing_proxy_is_retried_and_quoted(answering):
    client, raws = answering(503, {"Server": "nginx", **HTML}, b"<title>503 Unavailable</title>")
    with pytest.raises(errors.MirrorBusyError, match=r"503 with the page '503 Unavailable' \(Server: nginx\)"):
        with translated(SETTINGS, "read x"):
            client.get_object(Bucket="models", Key="k")
    assert len(raws) > 1


@pytest.mark.parametrize(
    "name, value",
    [
        ("Last-Modified", "yesterday"),
        ("Content-Length", "many"),
        ("Expires", "\u00e9"),
        ("x-amz-mp-parts-count", "x"),
        ("x-amz-missing-meta", "x"),
        ("x-amz-tagging-count", "x"),
        ("x-amz-object-lock-retain-until-date", "x"),
    ],
)
def test_guard_nonsense_in_a_header_nobody_needs_does_no_harm(answering, name, value):
    client, _raws = answering(200, {"ETag": '"e"', name: value})
    assert client.head_object(Bucket="models", Key="k")["ETag"] == '"e"'


@pytest.mark.parametrize(
    "name, value", [("x-amz-bucket-key-enabled", "perhaps"), ("x-amz-restore", "\x00"), ("x-amz-storage-class", "")]
)
def test_guard_other_headers_are_of_no_consequence(answering, name, value):
    client, _raws = answering(200, {"ETag": '"e"', name: value})
    assert client.head_object(Bucket="models", Key="k")["ETag"] == '"e"'


def test_guard_error_with_status_200_is_an_error(answering):
    client, _raws = answering(200, {}, ERROR % b"AccessDenied")
    with pytest.raises(errors.MirrorAccessError), translated(SETTINGS, "list x"):
        client.list_objects_v2(Bucket="models")


@pytest.mark.parametrize("method", ["list_objects_v2", "create_multipart_upload", "delete_object"])
def test_guard_half_of_an_error_keeps_its_status(answering, method):
    client, _raws = answering(200, {}, (ERROR % b"AccessDenied")[:-9])
    key = {} if method == "list_objects_v2" else {"Key": "k"}
    with pytest.raises(errors.NotS3Error, match="answered 200"), translated(SETTINGS, "do x"):
        getattr(client, method)(Bucket="models", **key)


def test_guard_answer_that_the_sdk_cannot_read_is_no_defect(answering, monkeypatch):
    client, _raws = answering(200, {"ETag": '"e"', "Last-Modified": "Sat, 28 Nov 2026 07:00:00 GMT"})
    monkeypatch.setattr("botocore.parsers.BaseRestParser._parse_non_payload_attrs", lambda *_arguments: int("x"))
    with pytest.raises(errors.NotS3Error, match="cannot be understood"), translated(SETTINGS, "ask for x"):
        client.head_object(Bucket="models", Key="k")


class Interim(socketserver.StreamRequestHandler):
    """Answers each request of a connection, and sends two interim answers before."""

    def handle(self):
        while True:
            method = self.rfile.readline().partition(b" ")[0].decode()
            if not method:
                return
            heads = dict(line.lower().split(b": ", 1) for line in iter(self.rfile.readline, b"\r\n"))
            self.rfile.read(int(heads.get(b"content-length", 0)))
            self.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
            content = b"content" if method == "GET" else b""
            head = f'HTTP/1.1 200 OK\r\nETag: "{method}"\r\nContent-Length: {len(content)}\r\n\r\n'
            self.wfile.write(head.encode() + content)


class InterimServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


def test_guard_interim_answers_before_the_answer_are_skipped():
    with InterimServer(("127.0.0.1", 0), Interim) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        client = connect(replace(SETTINGS, endpoint_url=f"http://127.0.0.1:{server.server_address[1]}"))
        which = {"Bucket": "models", "Key": "k"}
        assert client.put_object(**which, Body=b"content")["ETag"] == '"PUT"'
        assert client.get_object(**which)["Body"].read() == b"content"
        assert client.head_object(**which)["ETag"] == '"HEAD"'
        assert client.delete_object(**which)["ResponseMetadata"]["HTTPHeaders"]["etag"] == '"DELETE"'
        server.shutdown()


def test_guard_without_the_insides_of_the_sdk_stays_away():
    class Bare:
        pass

    AnswerGuard(Bare())


def test_excerpt_header_is_no_header_of_s3():
    assert not EXCERPT_HEADER.startswith("x-amz-")
