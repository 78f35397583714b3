# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A look at each answer before the SDK reads it: is it one of an S3 server at all?

The SDK takes whatever answers for S3. It reads a web page as an empty list or as a success, follows a redirect of a
proxy with questions of its own until the stack is full, and fails with a KeyError or a ValueError where a header is
missing or is nonsense. So foreign answers end here, as a :class:`StrangeAnswer`, and headers that nobody needs and that
the SDK could stumble over are taken away.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from ..._ollama.diagnosis import answered_by, excerpt, origin, redirect_target, wants_tls
from ..errors import MirrorError, NotS3Error, WrongRegionError

#: The header in which the words of a foreign answer reach the error of the SDK, beside those that the server sent.
EXCERPT_HEADER = "x-excerpt-of-answer"

#: The operations whose answers have a body, and the element that the body is.
_DOCUMENTS = {
    "ListObjectsV2": b"ListBucketResult",
    "CreateMultipartUpload": b"InitiateMultipartUploadResult",
    "CompleteMultipartUpload": b"CompleteMultipartUploadResult",
}
#: The operations whose answers have a header and an empty body.
_BODILESS = {"PutObject", "UploadPart", "DeleteObject", "AbortMultipartUpload"}

#: The statuses that say that the operation was done, where it is not 200 alone.
_SUCCESSES = {
    "PutObject": {200, 201, 204},
    "UploadPart": {200, 201, 204},
    "CompleteMultipartUpload": {200, 201},
    "DeleteObject": {200, 202, 204},
    "AbortMultipartUpload": {200, 202, 204},
}

#: Statuses for which the SDK tries again or which say enough without the server's words.
_PLAIN_STATUSES = {408, 411, 412, 413, 416, 429}

#: Headers of an object whose values the SDK reads, and nobody here.
_UNUSED = (
    "expires",
    "x-amz-missing-meta",
    "x-amz-mp-parts-count",
    "x-amz-object-lock-retain-until-date",
    "x-amz-tagging-count",
)
_ERROR = re.compile(rb"<(?:\w+:)?Error[\s>].*?<(?:\w+:)?Code>\s*[\w.]", re.DOTALL)
_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL)

#: Bytes of a page that are looked at.
_EXCERPT = 4096


class StrangeAnswer(Exception):
    """An answer that the SDK must not read. ``error_translation.py`` completes the message.

    :param what: what is wrong, to complete "Could not ...: {where} ".
    """

    def __init__(self, kind: type[MirrorError], what: str, remedy: str, status: int) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.remedy = remedy
        self.status = status


class AnswerGuard:
    """Sends the requests of one client of the SDK, and looks at the answers first."""

    def __init__(self, client: Any) -> None:
        self._session = getattr(getattr(client, "_endpoint", None), "http_session", None)
        if self._session is not None:
            client.meta.events.register_last("before-send.s3", self._send)

    def _send(self, *, request: Any, event_name: str, **_more: Any) -> Any:
        """Return the answer to a request, as the SDK's own way of sending does.

        :raises StrangeAnswer: for what is no answer of S3.
        """
        answer = self._session.send(request)  # type: ignore[union-attr]
        operation = event_name.rpartition(".")[2]
        streamed = operation == "GetObject" and answer.status_code < 300
        content = b"" if streamed else answer.content
        if _is_error_with_a_good_status(operation, answer.status_code, content):
            answer.status_code = 500  # as newer SDKs do by themselves: the code in the body says what happened
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


def examine(operation: str, status: int, headers: Mapping[str, str], content: bytes, *, ranged: bool = False) -> None:
    """Look at an answer whose body is there.

    :param operation: the name that S3 gives to it, such as ``PutObject``.
    :param headers: looked up without regard to case.
    :param ranged: whether a part of an object was asked for.
    :raises StrangeAnswer: when no S3 server answers like that.
    """
    if 300 <= status < 400 and status != 304:
        _examine_redirect(operation, status, headers, content)
    elif 400 <= status < 500:
        if wants_tls(content):
            raise StrangeAnswer(
                NotS3Error, "speaks TLS at this port", "Write https:// instead of http:// in endpoint_url", status
            )
        bodiless = operation == "HeadObject" or (not content.strip() and _of_s3(headers))
        if not bodiless and status not in _PLAIN_STATUSES and not _ERROR.search(content):
            raise _not_s3(status, content, headers)
    elif 200 <= status < 300:
        if status not in _SUCCESSES.get(operation, {200}) and not (status == 206 and ranged):
            raise _not_s3(status, content, headers)
        _examine_success(operation, status, headers, content)


def looks_foreign(headers: Mapping[str, str]) -> bool:
    """Return whether the headers of a successful answer are those of a web page and of nothing that S3 keeps."""
    kind = (headers.get("content-type") or "").partition(";")[0].strip().lower()
    return kind == "text/html" and not headers.get("etag") and not any(_is_of_s3(name) for name in headers)


def is_page(content: bytes) -> bool:
    """Return whether content is a web page."""
    return _PAGE.match(content, 0, _EXCERPT) is not None


def what_page(content: bytes, headers: Mapping[str, str]) -> str:
    """Return what was sent in place of something else, as in "the page 'Sign in' (Server: nginx)"."""
    return excerpt(content) + answered_by(headers)


def _examine_redirect(operation: str, status: int, headers: Mapping[str, str], content: bytes) -> None:
    named = _ERROR.search(content) is not None
    if headers.get("x-amz-bucket-region") or (named and b"<Region>" in content):
        return  # the SDK asks there
    if named:
        found = re.search(rb"<Endpoint>([^<]{1,255})</Endpoint>", content)
        elsewhere = f", at {redirect_target(found.group(1).decode('utf-8', 'replace'))}" if found else ""
        raise StrangeAnswer(
            WrongRegionError,
            f"says that the bucket is elsewhere{elsewhere}",
            "Set endpoint_url to where the bucket is, and region to its region",
            status,
        )
    location = headers.get("location") or ""
    target = origin(location)
    raise StrangeAnswer(
        NotS3Error,
        f"redirects to {redirect_target(location)} ({status}){answered_by(headers)}",
        f"Set endpoint_url to {target}: redirects are not followed, since a signature is made for one address"
        if target
        else "Set endpoint_url to the S3 API of the server: a web page or a proxy answers there",
        status,
    )


def _examine_success(operation: str, status: int, headers: Mapping[str, str], content: bytes) -> None:
    element = _DOCUMENTS.get(operation)
    if element is not None:
        # An empty answer to the end of an upload is left to the SDK, which asks again.
        if not (operation == "CompleteMultipartUpload" and not content.strip()) and not re.search(
            rb"<(?:\w+:)?%s[\s/>]" % element, content
        ):
            raise _not_s3(status, content, headers)
        if content.strip() and not _is_xml(content):
            raise StrangeAnswer(
                NotS3Error,
                f"answered {status} with {element.decode()}, cut or changed: it is no XML{answered_by(headers)}",
                "Look for a proxy that changes answers or cuts them short, or update the S3 server",
                status,
            )
    elif operation in _BODILESS:
        # The SDK takes what is no XML for an error of the server.
        if is_page(content) or (content.strip() and not _is_xml(content)):
            raise _not_s3(status, content, headers)
    elif operation == "HeadObject" and looks_foreign(headers):
        raise _not_s3(status, b"", headers)


def _not_s3(status: int, content: bytes, headers: Mapping[str, str]) -> StrangeAnswer:
    return StrangeAnswer(
        NotS3Error,
        f"answered {status} with {what_page(content, headers)}, which no S3 server sends",
        "Set endpoint_url to the S3 API of the server, which need not be where its web page is; if a proxy or a gateway"
        " lies between, look at its rules and its log",
        status,
    )


def _is_xml(content: bytes) -> bool:
    from xml.etree import ElementTree

    try:
        ElementTree.fromstring(content)  # noqa: S314 - of a server that we trust with our models
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
    """Take away the headers that the SDK would stumble over, and nobody needs."""
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
