# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures, against an example of Amazon's and against the SDK's own."""

from __future__ import annotations

import calendar
import time

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.sigv4 import Signer
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def test_signed_example_of_the_documentation_has_its_signature():
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "Example: GET Object"."""
    signer = Signer("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None, "us-east-1")
    signed = signer.signed(
        "GET",
        "examplebucket.s3.amazonaws.com",
        "/test.txt",
        "",
        {"range": "bytes=0-9"},
        calendar.timegm((2013, 5, 24, 0, 0, 0)),
    )
    assert signed["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


@pytest.mark.parametrize("token", [None, "a token"])
@pytest.mark.parametrize(
    "path, query",
    [
        ("/bucket/models/some%20thing%2B%C3%BC/~blob", ""),
        ("/bucket/a/../b//c", ""),
        ("/bucket", "continuation-token=a%2Fb%3D&encoding-type=url&list-type=2&prefix=models%2F"),
    ],
)
def test_signed_any_request_has_the_sdks_signature(path, query, token):
    url = f"http://127.0.0.1:7070{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method="GET", url=url, headers={"If-Match": '"abc"', "Range": "bytes=0-9"})
    S3SigV4Auth(Credentials("key", "secret", token), "s3", "eu-north-1").add_auth(request)
    moment = calendar.timegm(time.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ"))
    signer = Signer("key", "secret", token, "eu-north-1")
    for _again in range(2):  # the second time with the key of the day that it remembers
        signed = signer.signed(
            "GET", "127.0.0.1:7070", path, query, {"if-match": '"abc"', "range": "bytes=0-9"}, moment
        )
        assert signed["authorization"] == request.headers["Authorization"]
    assert signed.get("x-amz-security-token") == token
