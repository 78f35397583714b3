# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""How the errors of the SDK and of the connection become those of ``errors.py``.

The SDK names most failures by a code in the XML body of the answer. An answer to HEAD has no body, so that its code is
the bare HTTP status.
Names of codes: Amazon S3 API reference, "Error responses", and what VersityGW 1.8, Ceph and MinIO were seen to send.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from .._ollama.errors import CollectionError, Detail
from .errors import (
    BucketMissingError,
    ClockSkewError,
    MirrorAccessError,
    MirrorBusyError,
    MirrorCredentialsError,
    MirrorError,
    MirrorSettingsError,
    MirrorTlsError,
    MirrorUnreachableError,
    ObjectChangedError,
    ObjectMissingError,
    WrongRegionError,
)

if TYPE_CHECKING:
    from .s3 import S3Settings


def translate(error: Exception, settings: S3Settings, doing: str) -> Optional[MirrorError]:
    """Return the typed error for one that the SDK or the connection raised; ``None`` for a defect of our own.

    :param doing: what was being done, to complete "Could not ...", as in "read s3://models/ollama/models/manifests/...".
    """
    try:
        from botocore import exceptions as sdk
    except ImportError:  # then it cannot be the SDK's
        return None

    if isinstance(error, sdk.ClientError):
        return _of_answer(error.response, settings, doing)
    if isinstance(error, (sdk.NoCredentialsError, sdk.PartialCredentialsError, sdk.CredentialRetrievalError)):
        return MirrorCredentialsError(
            f"Could not {doing}: no usable credentials were found ({error})",
            remedy="Set access_key and secret_key, or profile, or the AWS_* environment where the module runs",
        )
    if isinstance(error, sdk.SSLError):
        return MirrorTlsError(
            f"Could not {doing}: TLS with {settings.where} failed ({error})",
            remedy="Set s3_ca_path to the authority that signed its certificate, and check the host in endpoint_url",
            endpoint=settings.where,
        )
    if isinstance(error, (sdk.ConnectionError, sdk.HTTPClientError)):
        return _of_connection(error, settings, doing)
    if isinstance(error, (sdk.BotoCoreError, ValueError)):
        return MirrorSettingsError(
            f"Could not {doing}: {error}", remedy="Check bucket, prefix, region, profile and endpoint_url"
        )
    # The body of an answer is read from the connection itself, past the SDK.
    if isinstance(error, OSError) or type(error).__module__.startswith(("http.client", "urllib3.")):
        return _of_connection(error, settings, doing)
    return None


class translated:  # noqa: N801 - used as a function is
    """Raise typed errors for those of the SDK and the connection.

    A generator would do, and takes three times as long; each piece that is received passes here.
    """

    __slots__ = ("_doing", "_settings")

    def __init__(self, settings: S3Settings, doing: str) -> None:
        self._settings = settings
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, CollectionError):
            typed = translate(error, self._settings, self._doing)
            if typed is not None:
                raise typed from error


def _of_connection(error: Exception, settings: S3Settings, doing: str) -> MirrorError:
    return MirrorUnreachableError(
        f"Could not {doing}: {settings.where} does not answer ({type(error).__name__}: {error})",
        remedy="Check endpoint_url, that the S3 server runs, and that name service, firewall and proxy lead there",
        endpoint=settings.where,
    )


class _Known(NamedTuple):
    """A failure that a server names: the error, what happened (to complete "Could not ..."), the remedy, its names."""

    error: type[MirrorError]
    what: str
    remedy: str
    codes: tuple[str, ...]


_KNOWN = (
    _Known(
        MirrorCredentialsError,
        "{where} does not know the access key",
        "Check access_key, and that it belongs to this S3 server",
        ("InvalidAccessKeyId", "InvalidAccessKey", "InvalidClientTokenId", "XAdminUserNotFound"),
    ),
    _Known(
        MirrorCredentialsError,
        "{where} knows the access key, but the secret key does not match it",
        "Check secret_key; a proxy that rewrites the Host header or the path has the same effect",
        ("SignatureDoesNotMatch",),
    ),
    _Known(
        MirrorCredentialsError,
        "the credentials have expired",
        "Get new temporary credentials and run again; what was transferred is kept",
        ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"),
    ),
    _Known(
        MirrorCredentialsError,
        "the session token is not valid",
        "Check session_token",
        ("InvalidToken",),
    ),
    _Known(
        MirrorAccessError,
        "access is denied",
        "Give the key the rights s3:GetObject and s3:ListBucket (to publish s3:PutObject, to remove s3:DeleteObject)"
        " on bucket {bucket}; without s3:ListBucket a missing object is refused in the same way",
        ("AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "403"),
    ),
    _Known(
        BucketMissingError,
        "bucket {bucket} does not exist on {where}",
        "Check bucket and endpoint_url, or create the bucket",
        ("NoSuchBucket",),
    ),
    _Known(
        ObjectMissingError,
        "it does not exist",
        "Check bucket and prefix, or publish it first",
        ("NoSuchKey", "NotFound", "404"),
    ),
    _Known(
        WrongRegionError,
        "bucket {bucket} is not in the region that the request was made for",
        "Set region to that of the bucket{hint}",
        (
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "PermanentRedirect",
            "TemporaryRedirect",
            "301",
            "307",
        ),
    ),
    _Known(
        ClockSkewError,
        "the clock of this machine and that of {where} differ too much",
        "Set this machine's clock, for example with chrony or systemd-timesyncd",
        ("RequestTimeTooSkewed", "RequestInTheFuture"),
    ),
    _Known(
        MirrorBusyError,
        "{where} asks to slow down, in all tries",
        "Run again later, with a lower concurrency or on fewer hosts at once; what was transferred is kept",
        ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "429"),
    ),
    _Known(
        MirrorBusyError,
        "{where} failed by its own account, in all tries",
        "Look into the S3 server's log, and run again; what was transferred is kept",
        ("InternalError", "ServiceUnavailable", "500", "502", "503", "504"),
    ),
    _Known(
        ObjectChangedError,
        "it was replaced while it was being read",
        "Run again",
        ("PreconditionFailed", "412"),
    ),
)
_BY_CODE = {code: known for known in _KNOWN for code in known.codes}


def _of_answer(response: Mapping[str, Any], settings: S3Settings, doing: str) -> MirrorError:
    answer = response.get("Error", {})
    meta = response.get("ResponseMetadata", {})
    code, said, status = str(answer.get("Code", "")), str(answer.get("Message", "")), meta.get("HTTPStatusCode")
    region = str(answer.get("Region") or meta.get("HTTPHeaders", {}).get("x-amz-bucket-region") or "")
    # A status says too little beside a code that is not known: VersityGW answers 404 for an unknown user.
    known = _BY_CODE.get(code or str(status))
    details: dict[str, Detail] = {
        "status": status,
        "s3_code": code or None,
        "endpoint": settings.where,
        "bucket": settings.bucket,
    }
    if known is None:
        return MirrorError(
            f"Could not {doing}: {settings.where} answered {status} {code}: {said}",
            remedy="Look the code up in the S3 server's documentation",
            **details,
        )
    facts = {
        "where": settings.where,
        "bucket": settings.bucket,
        "hint": f", which is {region}" if region else "",
    }
    return known.error(
        f"Could not {doing}: {known.what.format(**facts)} ({code or status})",
        remedy=known.remedy.format(**facts),
        **details,
    )
