# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the SDK become typed ones; the answers are those that S3 servers give."""

from __future__ import annotations

import http.client
import ssl
import traceback

import botocore.exceptions as sdk
import pytest
import urllib3.exceptions
from ansible_collections.legionio.ollama.plugins.module_utils._mirror import errors
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.error_translation import translate, translated
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings

SETTINGS = S3Settings("models", endpoint_url="https://s3.example.com", access_key="key", secret_key="very secret")


def answer(code, status, message="as the server says", headers=None, **more):
    return sdk.ClientError(
        {
            "Error": {"Code": code, "Message": message, **more},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
        },
        "GetObject",
    )


def tls_error(verify_message, reason=""):
    inner = ssl.SSLError(1, f"[SSL: {reason}]")
    inner.verify_message, inner.reason = verify_message, reason
    return sdk.SSLError(endpoint_url="x", error=inner)


@pytest.mark.parametrize(
    "error, kind, says",
    [
        (answer("InvalidAccessKeyId", 403), errors.MirrorCredentialsError, "access_key"),
        (answer("XAdminUserNotFound", 404), errors.MirrorCredentialsError, "access_key"),
        (answer("SignatureDoesNotMatch", 403), errors.MirrorCredentialsError, "secret_key"),
        (answer("ExpiredToken", 400), errors.MirrorCredentialsError, "expired"),
        (answer("RequestExpired", 400), errors.ClockSkewError, "clock"),
        (answer("InvalidToken", 400), errors.MirrorCredentialsError, "session token"),
        (answer("AccessDenied", 403), errors.MirrorAccessError, "s3:GetObject"),
        (answer("403", 403), errors.MirrorAccessError, "bucket models"),
        (answer("NoSuchBucket", 404), errors.BucketMissingError, "bucket models"),
        (answer("NoSuchKey", 404), errors.ObjectMissingError, "does not exist"),
        (answer("404", 404), errors.ObjectMissingError, "does not exist"),
        (answer("AuthorizationHeaderMalformed", 400, Region="eu-west-1"), errors.WrongRegionError, "eu-west-1"),
        (
            answer("PermanentRedirect", 301, headers={"x-amz-bucket-region": "eu-central-1"}),
            errors.WrongRegionError,
            "eu-central-1",
        ),
        (answer("301", 301), errors.WrongRegionError, "region"),
        (answer("RequestTimeTooSkewed", 403), errors.ClockSkewError, "clock"),
        (answer("SlowDown", 503), errors.MirrorBusyError, "slow down"),
        (answer("InternalError", 500), errors.MirrorBusyError, "reported an internal failure"),
        (answer("503", 503), errors.MirrorBusyError, "internal failure"),
        (answer("PreconditionFailed", 412), errors.ObjectChangedError, "replaced"),
        (answer("QuotaExceeded", 403), errors.MirrorError, "QuotaExceeded: as the server says"),
        (sdk.NoCredentialsError(), errors.MirrorCredentialsError, "access_key"),
        (sdk.EndpointConnectionError(endpoint_url="x"), errors.MirrorUnreachableError, "https://s3.example.com"),
        (sdk.ConnectTimeoutError(endpoint_url="x"), errors.MirrorUnreachableError, "endpoint_url"),
        (sdk.ReadTimeoutError(endpoint_url="x"), errors.MirrorUnreachableError, "https://s3.example.com"),
        (tls_error("self-signed certificate"), errors.MirrorTlsError, "s3_ca_path"),
        (tls_error("", reason="WRONG_VERSION_NUMBER"), errors.MirrorTlsError, "http:// instead of https://"),
        (tls_error("", reason="TLSV13_ALERT_CERTIFICATE_REQUIRED"), errors.MirrorTlsError, "client certificate"),
        (sdk.ProfileNotFound(profile="x"), errors.MirrorSettingsError, "profile"),
        (sdk.ParamValidationError(report="bad bucket"), errors.MirrorSettingsError, "bucket"),
        (urllib3.exceptions.ProtocolError("secret"), errors.MirrorUnreachableError, "the server closed the connection"),
        (http.client.IncompleteRead(b""), errors.MirrorUnreachableError, "closed the connection"),
        (ConnectionResetError(104, "Connection reset by peer"), errors.MirrorUnreachableError, "reset"),
        (TimeoutError("timed out"), errors.MirrorUnreachableError, "no answer in time"),
        (
            sdk.ProxyConnectionError(proxy_url="http://me:pw@proxy:3128", error=OSError()),
            errors.MirrorUnreachableError,
            "the proxy http://proxy:3128",
        ),
        (
            sdk.ConnectionClosedError(endpoint_url="x", error=http.client.BadStatusLine("\x15\x03\x01")),
            errors.NotS3Error,
            "https:// instead of http://",
        ),
        (
            sdk.HTTPClientError(error=http.client.BadStatusLine("SSH-2.0")),
            errors.NotS3Error,
            "does not speak HTTP",
        ),
        (sdk.IncompleteReadError(actual_bytes=1, expected_bytes=2), errors.MirrorUnreachableError, "does not answer"),
        (answer("AccessDenied", 403, "no kms:Decrypt"), errors.MirrorAccessError, "(AccessDenied: no kms:Decrypt)"),
        (answer("InvalidObjectState", 403, "storage class"), errors.MirrorAccessError, "Restore the object"),
        (answer("KMS.DisabledException", 400, "is disabled"), errors.MirrorAccessError, "is disabled"),
        (answer("", 413), errors.MirrorError, "too large"),
        (answer("InvalidRange", 416), errors.ObjectChangedError, "has become shorter"),
        (answer("Strange", 599), errors.MirrorBusyError, "reported an internal failure"),
        (
            answer("", 502, headers={"x-excerpt-of-answer": "the page 'Bad gateway'", "server": "nginx"}),
            errors.MirrorBusyError,
            "(502 with the page 'Bad gateway' (Server: nginx))",
        ),
        (answer("Odd\n\x1b", 400, "\u202e"), errors.MirrorError, "Odd\\n\\x1b: \\u202e"),
    ],
)
def test_translate_each_failure_has_its_own_message(error, kind, says):
    typed = translate(error, SETTINGS, "read s3://models/key")
    assert typed.__class__ is kind  # not one of its kinds: the most general one would say less
    assert str(typed).startswith("Could not read s3://models/key: ")
    assert says in str(typed)
    assert typed.remedy
    assert not set(str(typed)) & set("\n\x1b\u202e")
    assert "very secret" not in str(typed) + repr(typed.details)


@pytest.mark.parametrize("doing", ["read", "list", "write", "remove"])
def test_translate_denied_access_names_the_missing_right(doing):
    says = str(translate(answer("AccessDenied", 403), SETTINGS, f"{doing} s3://models/key"))
    rights = {"read": "s3:GetObject", "list": "s3:ListBucket", "write": "s3:PutObject", "remove": "s3:DeleteObject"}
    assert rights[doing] in says
    assert not any(right in says for other, right in rights.items() if other != doing and other != "list")
    assert ("without s3:ListBucket" in says) == (doing == "read")


@pytest.mark.parametrize("code, status", [("NoSuchKey", 404), ("404", 404), ("InvalidRange", 416), ("412", 412)])
@pytest.mark.parametrize("doing", ["write", "remove", "list"])
def test_translate_code_of_reading_is_ignored_for_other_requests(code, status, doing):
    typed = translate(answer(code, status), SETTINGS, f"{doing} s3://models/key")
    assert typed.__class__ is errors.MirrorError
    assert f"answered {status} {code}" in str(typed)


@pytest.mark.parametrize(
    "settings, source",
    [
        ({"access_key": "k", "secret_key": "s"}, "access_key and secret_key"),
        ({"access_key": "k", "secret_key": "s", "session_token": "t"}, "session_token"),
        ({"profile": "lab"}, "profile lab"),
        ({}, "environment"),
    ],
)
def test_translate_wrong_credentials_remedy_names_their_source(settings, source):
    settings = S3Settings("models", **settings)
    assert source in str(translate(answer("InvalidAccessKeyId", 403), settings, "read x"))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Invalid header value b'very secret\\n'"),
        sdk.HTTPClientError(error=ValueError("Invalid header value b'very secret\\n'")),
        sdk.CredentialRetrievalError(provider="process", error_msg="very secret"),
        UnicodeEncodeError("latin-1", "very secret\u2028", 11, 12, "ordinal not in range"),
        answer("Odd", 400, "the token very secret is odd"),
    ],
)
def test_translate_secret_in_the_text_of_an_exception_is_hidden(error):
    with pytest.raises(errors.MirrorError) as caught, translated(SETTINGS, "read x"):
        raise error
    shown = "".join(traceback.format_exception(None, caught.value, caught.value.__traceback__))
    assert "very secret" not in str(caught.value) + repr(caught.value.details)
    assert not isinstance(caught.value, errors.MirrorSettingsError) or "very secret" not in shown


def test_translated_own_defect_is_not_translated():
    assert translate(TypeError("defect"), SETTINGS, "x") is None
    with pytest.raises(TypeError), translated(SETTINGS, "x"):
        raise TypeError


def test_translated_typed_error_is_left_alone():
    error = errors.ObjectMissingError("gone")
    with pytest.raises(errors.ObjectMissingError) as caught, translated(SETTINGS, "x"):
        raise error
    assert caught.value is error


def test_known_server_codes_are_unique():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MirrorError)]
    assert len({kind.code for kind in kinds}) == len(kinds)
