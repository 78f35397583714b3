# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The error codes of S3 servers, each with its typed error and remedy.

Most failures have a code in the XML body of the response. A response to HEAD has no body, so its code is the HTTP
status. A message also shows the server's own text, made printable, because it names the missing right.
Sources of the codes: Amazon S3 API reference, "Error responses", and responses of VersityGW 1.8, Ceph and MinIO.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..._ollama.diagnosis import answered_by
from ..._ollama.errors import Detail
from ..._ollama.text import printable
from ..errors import (
    BucketMissingError,
    ClockSkewError,
    MirrorAccessError,
    MirrorBusyError,
    MirrorCredentialsError,
    MirrorError,
    ObjectChangedError,
    ObjectMissingError,
    WrongRegionError,
)
from .answers import EXCERPT_HEADER

if TYPE_CHECKING:
    from .settings import S3Settings

#: The most characters of a server's text in a message. A reason for a denial names users, rights and keys.
_WORDS = 500


class _KnownServerError(NamedTuple):
    """A failure with its typed error, its description (completes "Could not ..."), its remedy, and its codes."""

    error: type[MirrorError]
    what: str
    remedy: str
    codes: tuple[str, ...]


_BUSY = _KnownServerError(
    MirrorBusyError,
    "{where} reported an internal failure on every attempt",
    "Run again later; if the failure persists, read the log of the S3 server or of the proxy in front of it",
    ("InternalError", "ServiceUnavailable", "500", "502", "503", "504"),
)
_KNOWN = (
    _KnownServerError(
        MirrorCredentialsError,
        "{where} does not know the access key",
        "Check {keys}, and that the key belongs to this S3 server; a temporary key needs its session token",
        ("InvalidAccessKeyId", "InvalidAccessKey", "InvalidClientTokenId", "XAdminUserNotFound"),
    ),
    _KnownServerError(
        MirrorCredentialsError,
        "{where} knows the access key, but the signature does not match it",
        "Check {keys}, above all the secret key; a proxy that rewrites the Host header or the path has the same effect",
        ("SignatureDoesNotMatch",),
    ),
    _KnownServerError(
        MirrorCredentialsError,
        "the credentials have expired",
        "Renew {keys}, and run again",
        ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
    ),
    _KnownServerError(
        MirrorCredentialsError,
        "the session token is not valid",
        "Check the session token of {keys}, and that it belongs to the access key",
        ("InvalidToken",),
    ),
    _KnownServerError(
        MirrorCredentialsError,
        "{where} wants credentials of another kind",
        "Check endpoint_url and {keys}; a proxy in between may require its own credentials",
        ("401", "Unauthorized", "CredentialsNotSupported"),
    ),
    _KnownServerError(
        MirrorAccessError,
        "access is denied",
        "Give the key {right} on bucket {bucket}, unless the server's message names another reason{unclear}",
        ("AccessDenied", "Forbidden", "403"),
    ),
    _KnownServerError(
        MirrorAccessError,
        "{where} has closed the account or the bucket",
        "Ask the operator of {where}: no right of the key can change this",
        ("AllAccessDisabled", "AccountProblem"),
    ),
    _KnownServerError(
        MirrorAccessError,
        "the object is archived, and cannot be read at once",
        "Restore the object, or publish to a storage class without archiving",
        ("InvalidObjectState",),
    ),
    _KnownServerError(
        MirrorAccessError,
        "the encryption key of the object cannot be used",
        "Enable that key, or publish again with a usable key",
        ("KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException", "KMS.InvalidStateException"),
    ),
    _KnownServerError(
        BucketMissingError,
        "bucket {bucket} does not exist on {where}",
        "Check bucket and endpoint_url, or create the bucket",
        ("NoSuchBucket",),
    ),
    _KnownServerError(
        ObjectMissingError,
        "the object does not exist",
        "Check bucket and prefix, or publish the object first",
        ("NoSuchKey", "NotFound", "404"),
    ),
    _KnownServerError(
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
    _KnownServerError(
        ClockSkewError,
        "the clock of this machine and that of {where} differ too much",
        "Correct the wrong clock, on this machine for example with chrony or systemd-timesyncd",
        ("RequestTimeTooSkewed", "RequestInTheFuture", "RequestExpired"),
    ),
    _KnownServerError(
        MirrorBusyError,
        "{where} asked to slow down on every attempt",
        "Run again later or on fewer hosts at once, or lower the concurrency of the import",
        ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "429"),
    ),
    _BUSY,
    _KnownServerError(
        ObjectChangedError,
        "the object was replaced during the read",
        "Run again",
        ("PreconditionFailed", "412"),
    ),
    _KnownServerError(
        ObjectChangedError,
        "the object has become shorter",
        "Run again; if this persists, publish the model again",
        ("InvalidRange", "416"),
    ),
    _KnownServerError(
        MirrorError,
        "the request is too large for {where}, or for a proxy in front of it",
        "Allow requests of at least 16 MiB, the part size of uploads, in nginx with client_max_body_size",
        ("413", "EntityTooLarge", "RequestEntityTooLarge", "MaxMessageLengthExceeded"),
    ),
    _KnownServerError(
        MirrorError,
        "the S3 server has no space left",
        "Free space on the S3 server, or raise the quota of the bucket or of its user",
        ("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "507"),
    ),
    _KnownServerError(
        MirrorError,
        "the bytes changed on the way",
        "Run again; if this persists, look for a proxy that changes requests",
        ("BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"),
    ),
    _KnownServerError(
        MirrorError,
        "another process ended the upload before it was complete",
        "Run again; if this persists, check the bucket's rules for unfinished uploads, and look for a second publisher",
        ("NoSuchUpload",),
    ),
    _KnownServerError(
        MirrorError,
        "{where} does not allow the operation",
        "Check that endpoint_url leads to the S3 API, and that neither the server nor the bucket is read-only",
        ("MethodNotAllowed", "405", "NotImplemented", "501"),
    ),
)
_BY_CODE = {code: known for known in _KNOWN for code in known.codes}

#: Errors that concern a read object.
_OF_READING = (ObjectMissingError, ObjectChangedError)

#: The required right by the verb of the operation.
_RIGHTS = {
    "read": "the right s3:GetObject",
    "ask": "the right s3:GetObject",
    "list": "the right s3:ListBucket",
    "write": "the rights s3:PutObject and s3:AbortMultipartUpload",
    "remove": "the right s3:DeleteObject",
}


def of_answer(response: Mapping[str, Any], settings: S3Settings, doing: str) -> MirrorError:
    """Return the typed error for an error response.

    :param response: the ``response`` of botocore's ``ClientError``.
    :param doing: the operation; completes "Could not ...".
    """
    answer = response.get("Error", {})
    meta = response.get("ResponseMetadata", {})
    headers: Mapping[str, str] = meta.get("HTTPHeaders", {})
    code, status = printable(answer.get("Code") or "", 80), meta.get("HTTPStatusCode")
    excerpt = headers.get(EXCERPT_HEADER)
    words = settings.concealed(str(answer.get("Message") or ""), _WORDS)
    region = printable(answer.get("Region") or headers.get("x-amz-bucket-region") or "", 80)
    # An unknown code is not mapped by its status: VersityGW answers 404 for an unknown user.
    known = _BY_CODE.get(code or str(status))
    verb = doing.partition(" ")[0]
    if known is None and isinstance(status, int) and status >= 500:
        known = _BUSY
    elif known is not None and known.error in _OF_READING and verb not in ("read", "ask"):
        known = None  # these codes only make sense for a read
    if excerpt is not None:
        words = f"{status} with {excerpt}{answered_by(headers)}"
    else:
        words = f"{code or status}{f': {words}' if words and words != code else ''}"
    details: dict[str, Detail] = {
        "status": status,
        "s3_code": code or None,
        "endpoint": settings.where,
        "bucket": settings.bucket,
    }
    if known is None:
        return MirrorError(
            f"Could not {doing}: {settings.where} answered {words if excerpt else f'{status} {words}'}",
            remedy="Find the code in the S3 server's documentation",
            **details,
        )
    facts = {
        "where": settings.where,
        "bucket": settings.bucket,
        "keys": settings.keys_of,
        "hint": f", which is {region}" if region else "",
        "right": _RIGHTS.get(verb, "the right for it"),
        # Without the right to list, S3 does not say whether an object exists.
        "unclear": "; without s3:ListBucket, the server reports a missing object in the same way"
        if verb in ("read", "ask")
        else "",
    }
    return known.error(
        f"Could not {doing}: {known.what.format(**facts)} ({words})",
        remedy=known.remedy.format(**facts),
        **details,
    )
