# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""What the error codes of S3 servers mean, and what to do about each.

The SDK names most failures by a code in the XML body of the answer. An answer to HEAD has no body, so that its code is
the bare HTTP status. The server's own words are shown too, made printable: they say which right is missing.
Names of codes: Amazon S3 API reference, "Error responses", and what VersityGW 1.8, Ceph and MinIO were seen to send.
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

#: Characters of a server's own words: its reasons for a denial name users, rights and keys in full.
_WORDS = 500


class _KnownServerError(NamedTuple):
    """A failure that a server names: the error, what happened (to complete "Could not ..."), the remedy, its names."""

    error: type[MirrorError]
    what: str
    remedy: str
    codes: tuple[str, ...]


_BUSY = _KnownServerError(
    MirrorBusyError,
    "{where} failed by its own account, in all tries",
    "Run again later; if it stays, the S3 server or the proxy before it is broken, and its log says why",
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
        "Check {keys}, the secret key above all; a proxy that rewrites the Host header or the path has the same effect",
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
        "Check endpoint_url and {keys}; if a proxy lies between, it may want credentials of its own",
        ("401", "Unauthorized", "CredentialsNotSupported"),
    ),
    _KnownServerError(
        MirrorAccessError,
        "access is denied",
        "Give the key {right} on bucket {bucket}, unless the server's own words name something else{unclear}",
        ("AccessDenied", "Forbidden", "403"),
    ),
    _KnownServerError(
        MirrorAccessError,
        "{where} has closed the account or the bucket",
        "Ask whoever runs {where}: no right of the key changes that",
        ("AllAccessDisabled", "AccountProblem"),
    ),
    _KnownServerError(
        MirrorAccessError,
        "the object is archived, and cannot be read at once",
        "Restore it, or publish to a storage class that can be read at once",
        ("InvalidObjectState",),
    ),
    _KnownServerError(
        MirrorAccessError,
        "the key that the object is encrypted with cannot be used",
        "Enable that key, or publish again with one that can be used",
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
        "it does not exist",
        "Check bucket and prefix, or publish it first",
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
        "Set the one that is wrong, on this machine for example with chrony or systemd-timesyncd",
        ("RequestTimeTooSkewed", "RequestInTheFuture", "RequestExpired"),
    ),
    _KnownServerError(
        MirrorBusyError,
        "{where} asks to slow down, in all tries",
        "Run again later or on fewer hosts at once; an import can also have a lower concurrency",
        ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "429"),
    ),
    _BUSY,
    _KnownServerError(
        ObjectChangedError,
        "it was replaced while it was being read",
        "Run again",
        ("PreconditionFailed", "412"),
    ),
    _KnownServerError(
        ObjectChangedError,
        "it has fewer bytes than it had",
        "Run again; if it stays, publish the model again",
        ("InvalidRange", "416"),
    ),
    _KnownServerError(
        MirrorError,
        "the request is too large for {where}, or for a proxy before it",
        "Allow requests of 16 MiB and more, in nginx with client_max_body_size; blobs are sent in parts of that size",
        ("413", "EntityTooLarge", "RequestEntityTooLarge", "MaxMessageLengthExceeded"),
    ),
    _KnownServerError(
        MirrorError,
        "there is no room left for it",
        "Free space on the S3 server, or raise the quota of the bucket or of its user",
        ("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "507"),
    ),
    _KnownServerError(
        MirrorError,
        "the bytes were changed on their way",
        "Run again; if it stays, look for a proxy that changes requests",
        ("BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"),
    ),
    _KnownServerError(
        MirrorError,
        "the upload was ended by somebody else before it was complete",
        "Run again; if it stays, look at the bucket's rules for unfinished uploads, and for a second publisher",
        ("NoSuchUpload",),
    ),
    _KnownServerError(
        MirrorError,
        "{where} does not allow that",
        "Check that endpoint_url leads to the S3 API, and that neither it nor the bucket is read-only",
        ("MethodNotAllowed", "405", "NotImplemented", "501"),
    ),
)
_BY_CODE = {code: known for known in _KNOWN for code in known.codes}

#: Errors that say something of an object that is read.
_OF_READING = (ObjectMissingError, ObjectChangedError)

#: What must be allowed, by what was being done.
_RIGHTS = {
    "read": "the right s3:GetObject",
    "ask": "the right s3:GetObject",
    "list": "the right s3:ListBucket",
    "write": "the rights s3:PutObject and s3:AbortMultipartUpload",
    "remove": "the right s3:DeleteObject",
}


def of_answer(response: Mapping[str, Any], settings: S3Settings, doing: str) -> MirrorError:
    """Return the typed error for an answer that the SDK has read as an error.

    :param response: as a ``ClientError`` of botocore has it.
    :param doing: what was being done, to complete "Could not ...".
    """
    answer = response.get("Error", {})
    meta = response.get("ResponseMetadata", {})
    headers: Mapping[str, str] = meta.get("HTTPHeaders", {})
    code, status = printable(answer.get("Code") or "", 80), meta.get("HTTPStatusCode")
    excerpt = headers.get(EXCERPT_HEADER)
    said = settings.concealed(str(answer.get("Message") or ""), _WORDS)
    region = printable(answer.get("Region") or headers.get("x-amz-bucket-region") or "", 80)
    # A status says too little beside a code that is not known: VersityGW answers 404 for an unknown user.
    known = _BY_CODE.get(code or str(status))
    verb = doing.partition(" ")[0]
    if known is None and isinstance(status, int) and status >= 500:
        known = _BUSY
    elif known is not None and known.error in _OF_READING and verb not in ("read", "ask"):
        known = None  # such a code is no answer to anything else
    if excerpt is not None:
        words = f"{status} with {excerpt}{answered_by(headers)}"
    else:
        words = f"{code or status}{f': {said}' if said and said != code else ''}"
    details: dict[str, Detail] = {
        "status": status,
        "s3_code": code or None,
        "endpoint": settings.where,
        "bucket": settings.bucket,
    }
    if known is None:
        return MirrorError(
            f"Could not {doing}: {settings.where} answered {words if excerpt else f'{status} {words}'}",
            remedy="Look the code up in the S3 server's documentation",
            **details,
        )
    facts = {
        "where": settings.where,
        "bucket": settings.bucket,
        "keys": settings.keys_of,
        "hint": f", which is {region}" if region else "",
        "right": _RIGHTS.get(verb, "the right for it"),
        # Without the right to list, S3 does not say whether an object exists.
        "unclear": "; without s3:ListBucket a missing object is refused in the same way"
        if verb in ("read", "ask")
        else "",
    }
    return known.error(
        f"Could not {doing}: {known.what.format(**facts)} ({words})",
        remedy=known.remedy.format(**facts),
        **details,
    )
