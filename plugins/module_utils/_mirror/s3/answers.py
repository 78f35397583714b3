# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A check of each response before the SDK reads it: did an S3 server send it?

The SDK accepts any response. It reads a web page or an interim response as an empty list or as a success, follows a
proxy's redirect recursively until the stack overflows, and fails with a KeyError or a ValueError if a header is missing
or invalid. So this module raises a :class:`StrangeAnswer` for a response of another server, and removes unused headers
that could break the SDK.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from ..._ollama.diagnosis import answered_by, excerpt, origin, redirect_target, wants_tls
from ..._ollama.strict_responses import FinalResponse
from ..errors import MirrorError, NotS3Error, WrongRegionError

#: An added header that carries an excerpt of the response to the SDK's error.
EXCERPT_HEADER = "x-excerpt-of-answer"

#: The root element of the body, by operation.
_DOCUMENTS = {
    "ListObjectsV2": b"ListBucketResult",
    "CreateMultipartUpload": b"InitiateMultipartUploadResult",
    "CompleteMultipartUpload": b"CompleteMultipartUploadResult",
}
#: The operations with an empty response body.
_BODILESS = {"PutObject", "UploadPart", "DeleteObject", "AbortMultipartUpload"}

#: The success statuses of operations for which not only 200 is a success.
_SUCCESSES = {
    "PutObject": {200, 201, 204},
    "UploadPart": {200, 201, 204},
    "CompleteMultipartUpload": {200, 201},
    "DeleteObject": {200, 202, 204},
    "AbortMultipartUpload": {200, 202, 204},
}

#: Statuses that the SDK retries, or that need no message of the server.
_PLAIN_STATUSES = {408, 411, 412, 413, 416, 429}

#: Headers of an object that the SDK parses and this collection does not use.
_UNUSED = (
    "expires",
    "x-amz-missing-meta",
    "x-amz-mp-parts-count",
    "x-amz-object-lock-retain-until-date",
    "x-amz-tagging-count",
)
_ERROR = re.compile(rb"<(?:\w+:)?Error[\s>].*?<(?:\w+:)?Code>\s*[\w.]", re.DOTALL)
_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL)

#: Bytes of a page to search.
_EXCERPT = 4096


class StrangeAnswer(Exception):
    """A response that the SDK must not read. ``error_translation.py`` completes the message.

    :param what: the fault; completes "Could not ...: {where} ".
    """

    def __init__(self, kind: type[MirrorError], what: str, remedy: str, status: int) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.remedy = remedy
        self.status = status


class AnswerGuard:
    """Sends the requests of one SDK client, and checks the responses first."""

    def __init__(self, client: Any) -> None:
        self._session = getattr(getattr(client, "_endpoint", None), "http_session", None)
        if self._session is not None:
            _skip_interim_answers(self._session)
            client.meta.events.register_last("before-send.s3", self._send)

    def _send(self, *, request: Any, event_name: str, **_more: Any) -> Any:
        """Send a request in place of the SDK, and return the response.

        :raises StrangeAnswer: for a response that is not from an S3 server.
        """
        answer = self._session.send(request)  # type: ignore[union-attr]
        operation = event_name.rpartition(".")[2]
        streamed = operation == "GetObject" and answer.status_code < 300
        if answer.status_code < 200:
            # The answer to this request is still to come, and must not become the answer to the next request on the
            # connection, which the SDK may have put back into its pool.
            getattr(self._session, "close", lambda: None)()  # some old SDKs lack it
        content = b"" if streamed else answer.content
        if _is_error_with_a_good_status(operation, answer.status_code, content):
            answer.status_code = 500  # as in newer SDKs: the code in the body names the error
        try:
            ranged = "Range" in request.headers
            examine(operation, answer.status_code, answer.headers, content, ranged=ranged)
        except StrangeAnswer:
            answer.raw.close()
            raise
        if streamed and looks_foreign(answer.headers):
            page = answer.raw.read(_EXCERPT)
            answer.raw.close()
            raise _not_s3(answer.status_code, page, answer.headers)
        if answer.status_code >= 300 and content and not _ERROR.search(content):
            answer.headers[EXCERPT_HEADER] = excerpt(content)
        _tidy(answer.headers)
        return answer


def _skip_interim_answers(session: Any) -> None:
    """Let the connections of the SDK skip interim responses, which http.client takes for the final ones."""
    pools = getattr(session, "_pool_classes_by_scheme", {})
    for scheme, pool in pools.items():
        connection = type("Connection", (pool.ConnectionCls,), {"response_class": FinalResponse})
        pools[scheme] = type("ConnectionPool", (pool,), {"ConnectionCls": connection})


def examine(operation: str, status: int, headers: Mapping[str, str], content: bytes, *, ranged: bool = False) -> None:
    """Check a complete response.

    :param operation: the S3 operation, such as ``PutObject``.
    :param headers: a case-insensitive mapping.
    :param ranged: whether the request was for a part of an object.
    :raises StrangeAnswer: if no S3 server responds like that.
    """
    if status < 200:
        # The connections skip interim answers, except one before the body of a request is sent.
        raise StrangeAnswer(
            NotS3Error,
            f"sent the interim status {status}, which the SDK takes for the answer{answered_by(headers)}",
            "Look for a proxy that sends interim answers (102, 103), and turn them off there, or set endpoint_url to"
            " the S3 server itself",
            status,
        )
    if 300 <= status < 400 and status != 304:
        _examine_redirect(operation, status, headers, content)
    elif 400 <= status < 500:
        if wants_tls(content):
            raise StrangeAnswer(
                NotS3Error, "speaks TLS on this port", "Write https:// instead of http:// in endpoint_url", status
            )
        bodiless = operation == "HeadObject" or (not content.strip() and _of_s3(headers))
        if not bodiless and status not in _PLAIN_STATUSES and not _ERROR.search(content):
            raise _not_s3(status, content, headers)
    elif 200 <= status < 300:
        if status not in _SUCCESSES.get(operation, {200}) and not (status == 206 and ranged):
            raise _not_s3(status, content, headers)
        _examine_success(operation, status, headers, content)


def looks_foreign(headers: Mapping[str, str]) -> bool:
    """Return whether the headers of a successful response are those of a web page, and not of an S3 object."""
    kind = (headers.get("content-type") or "").partition(";")[0].strip().lower()
    return kind == "text/html" and not headers.get("etag") and not any(_is_of_s3(name) for name in headers)


def is_page(content: bytes) -> bool:
    """Return whether content is a web page."""
    return _PAGE.match(content, 0, _EXCERPT) is not None


def what_page(content: bytes, headers: Mapping[str, str]) -> str:
    """Describe an unexpected response, as in "the page 'Sign in' (Server: nginx)"."""
    return excerpt(content) + answered_by(headers)


def _examine_redirect(operation: str, status: int, headers: Mapping[str, str], content: bytes) -> None:
    named = _ERROR.search(content) is not None
    if headers.get("x-amz-bucket-region") or (named and b"<Region>" in content):
        return  # the SDK repeats the request in that region
    if named:
        found = re.search(rb"<Endpoint>([^<]{1,255})</Endpoint>", content)
        elsewhere = f", at {redirect_target(found.group(1).decode('utf-8', 'replace'))}" if found else ""
        raise StrangeAnswer(
            WrongRegionError,
            f"says that the bucket is elsewhere{elsewhere}",
            "Set endpoint_url and region to those of the bucket",
            status,
        )
    location = headers.get("location") or ""
    target = origin(location)
    raise StrangeAnswer(
        NotS3Error,
        f"redirects to {redirect_target(location)} ({status}){answered_by(headers)}",
        f"Set endpoint_url to {target}: a signed request cannot follow redirects, because it is valid for one address"
        if target
        else "Set endpoint_url to the S3 API of the server: a web page or a proxy answers at this address",
        status,
    )


def _examine_success(operation: str, status: int, headers: Mapping[str, str], content: bytes) -> None:
    element = _DOCUMENTS.get(operation)
    if element is not None:
        # The SDK repeats a CompleteMultipartUpload with an empty response.
        if not (operation == "CompleteMultipartUpload" and not content.strip()) and not re.search(
            rb"<(?:\w+:)?%s[\s/>]" % element, content
        ):
            raise _not_s3(status, content, headers)
        if content.strip() and not _is_xml(content):
            raise StrangeAnswer(
                NotS3Error,
                f"answered {status} with {element.decode()} that is not valid XML{answered_by(headers)}",
                "Look for a proxy that changes or truncates answers, or update the S3 server",
                status,
            )
    elif operation in _BODILESS:
        # The SDK would read a body that is not XML as a server error.
        if is_page(content) or (content.strip() and not _is_xml(content)):
            raise _not_s3(status, content, headers)
    elif operation == "HeadObject" and looks_foreign(headers):
        raise _not_s3(status, b"", headers)


def _not_s3(status: int, content: bytes, headers: Mapping[str, str]) -> StrangeAnswer:
    return StrangeAnswer(
        NotS3Error,
        f"answered {status} with {what_page(content, headers)}, which no S3 server sends",
        "Set endpoint_url to the S3 API of the server, which may have another port than its web page; check the rules"
        " and the log of a proxy or gateway in between",
        status,
    )


def _is_xml(content: bytes) -> bool:
    from xml.etree import ElementTree

    try:
        ElementTree.fromstring(content)  # noqa: S314 - from a server that provides the models
    except (ElementTree.ParseError, ValueError, LookupError):
        return False
    return True


def _is_error_with_a_good_status(operation: str, status: int, content: bytes) -> bool:
    good = status < 300 and operation != "GetObject"
    return good and _ERROR.search(content) is not None and _is_xml(content)


def _of_s3(headers: Mapping[str, str]) -> bool:
    return bool(headers.get("etag")) or any(_is_of_s3(name) for name in headers)


def _is_of_s3(header: str) -> bool:
    return header.lower().startswith("x-amz-")


def _tidy(headers: MutableMapping[str, str]) -> None:
    """Remove headers that could break the SDK and that this collection does not use."""
    for name in _UNUSED:
        headers.pop(name, None)
    length = headers.get("content-length")
    if length is not None and not (length.isascii() and length.isdecimal()):
        headers.pop("content-length")
    modified = headers.get("last-modified")
    if modified is not None:
        try:
            email.utils.parsedate_to_datetime(modified)
        except (TypeError, ValueError, IndexError, OverflowError):
            headers.pop("last-modified")
