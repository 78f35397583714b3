# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations of S3 that a mirror needs, and the differences between S3 servers."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote
from wsgiref.handlers import format_date_time
from xml.etree import ElementTree as ET

from .answer import Answer, error, xml
from .bucket import Bucket, Stored
from .page import Page
from .request import Request

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Manners:
    """The choices of a server where S3 leaves room, or where servers differ.

    :ivar page_size: entries of a page.
    :ivar space: how a listing with ``encoding-type=url`` writes a space.
    :ivar says_encoding: whether such a listing has ``EncodingType``.
    :ivar tokens: ``good``; ``missing``, though more follows; or ``stuck``, the same one for ever.
    :ivar hears_start_after: whether it does what ``start-after`` asks for.
    :ivar old_listing: whether it knows version 1 of listings only.
    :ivar empty_pages: whether a page may be empty though more follows.
    :ivar absent_is: the status and code for an object that is not there.
    :ivar own_etags: whether ``If-Match`` with an object's own ETag is agreed to.
    :ivar ranges: whether it does what ``Range`` asks for.
    :ivar keeps_metadata: whether ``x-amz-meta-*`` of a write is kept.
    :ivar wants_checksum: whether a write needs Content-MD5 or a checksum, as with Object Lock.
    """

    page_size: int = 1000
    space: str = "%20"
    says_encoding: bool = True
    tokens: str = "good"
    hears_start_after: bool = True
    old_listing: bool = False
    empty_pages: bool = False
    absent_is: tuple[int, str] = (404, "NoSuchKey")
    own_etags: bool = True
    ranges: bool = True
    keeps_metadata: bool = True
    wants_checksum: bool = False


class Service:
    """A server over one bucket."""

    def __init__(self, bucket: Bucket, manners: Manners) -> None:
        self.bucket = bucket
        self.manners = manners

    def answer(self, request: Request) -> Answer:
        """Execute a request; :meth:`page` handles listings."""
        if request.bucket != self.bucket.name:
            return error(404, "NoSuchBucket")
        name = re.sub("(?=[A-Z])", "_", request.operation).lower()
        handler: Callable[[Request], Answer] | None = getattr(self, name, None)
        return error(501, "NotImplemented") if handler is None else handler(request)

    # Listings

    def page(self, request: Request) -> Page:
        """Return the page of a listing for a request.

        :raises ValueError: for an invalid request.
        """
        query, manners = request.query, self.manners
        newer = query.get("list-type") == "2" and not manners.old_listing
        prefix = query.get("prefix", "")
        keys = sorted(key for key in self.bucket.objects if key.startswith(prefix))
        token = query.get("continuation-token", "") if newer else ""
        after = bytes.fromhex(token.replace("t-", "").strip("-")).decode()
        if newer and not token and manners.hears_start_after:
            after = query.get("start-after", "")
        if not newer:
            after = query.get("marker", "")
        left = [key for key in keys if key > after]
        skips = manners.empty_pages and token.count("-") < 2 and bool(left)
        shown = [] if skips else left[: min(manners.page_size, int(query.get("max-keys", "1000")))]
        more = len(shown) < len(left)
        url = query.get("encoding-type") == "url"
        told = [("Name", self.bucket.name), ("Prefix", self._written(prefix, url))]
        if newer:
            told.append(("KeyCount", str(len(shown))))
        told += [("MaxKeys", "1000"), ("IsTruncated", "true" if more else "false")]
        if url and manners.says_encoding:
            told.append(("EncodingType", "url"))
        if more and manners.tokens != "missing":
            last = shown[-1] if shown else after
            if manners.tokens == "stuck":  # every page leads to the second one
                last = keys[manners.page_size - 1]
            if newer:
                told.append(("NextContinuationToken", "t-" + last.encode().hex() + ("-" if skips else "")))
            elif shown:
                told.append(("NextMarker", self._written(last, url)))
        return Page(tuple(told), tuple(self._entry(key, url) for key in shown))

    def _entry(self, key: str, url: bool) -> tuple[tuple[str, str], ...]:
        stored = self.bucket.objects[key]
        return (
            ("Key", self._written(key, url)),
            ("LastModified", stored.modified.strftime("%Y-%m-%dT%H:%M:%S.000Z")),
            ("ETag", stored.etag),
            ("Size", str(len(stored.content))),
            ("StorageClass", "STANDARD"),
        )

    def _written(self, key: str, url: bool) -> str:
        return quote(key, safe="/-_.~*").replace("%20", self.manners.space) if url else key

    def _list_objects_v2(self, request: Request) -> Answer:
        return xml(200, self.page(request).text())

    _list_objects = _list_objects_v2

    # Objects

    def _head_bucket(self, _request: Request) -> Answer:
        return Answer(200)

    def _get_bucket_location(self, _request: Request) -> Answer:
        return xml(200, "<LocationConstraint>us-east-1</LocationConstraint>")

    def _head(self, stored: Stored) -> Answer:
        headers = [
            ("ETag", stored.etag),
            ("Last-Modified", format_date_time(stored.modified.timestamp())),
            ("Accept-Ranges", "bytes"),
            ("Content-Type", "binary/octet-stream"),
            *((f"x-amz-meta-{name}", value) for name, value in stored.metadata.items()),
        ]
        return Answer(200, tuple(headers), length=len(stored.content))

    def _absent(self) -> Answer:
        return error(*self.manners.absent_is)

    def _head_object(self, request: Request) -> Answer:
        stored = self.bucket.objects.get(request.key)
        return Answer(self.manners.absent_is[0]) if stored is None else self._head(stored)

    def _get_object(self, request: Request) -> Answer:
        stored = self.bucket.objects.get(request.key)
        if stored is None:
            return self._absent()
        wanted = request.headers.get("if-match")
        if wanted and not (self.manners.own_etags and wanted in ("*", stored.etag)):
            return error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        answer = self._head(stored)
        headers, content = answer.headers, stored.content
        span = _RANGE.fullmatch(request.headers.get("range", ""))
        if span and self.manners.ranges:
            start, size = int(span[1]), len(content)
            if start >= size:
                return error(416, "InvalidRange")
            stop = min(int(span[2] or size), size - 1) + 1
            told = ("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            return Answer(206, (*headers, told), content[start:stop])
        return Answer(200, headers, content)

    def _refused(self, request: Request) -> Answer | None:
        named = any(name == "content-md5" or name.startswith("x-amz-checksum-") for name in request.headers)
        if self.manners.wants_checksum and not named:
            return error(400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required")
        told = request.headers.get("content-md5")
        if told and base64.b64encode(hashlib.md5(request.body).digest()).decode() != told:  # noqa: S324
            return error(400, "BadDigest")
        return None

    def _metadata(self, request: Request) -> dict[str, str]:
        return request.metadata if self.manners.keeps_metadata else {}

    def _put_object(self, request: Request) -> Answer:
        refused = self._refused(request)
        if refused:
            return refused
        stored = self.bucket.put(request.key, request.body, self._metadata(request))
        return Answer(200, (("ETag", stored.etag),))

    def _delete_object(self, request: Request) -> Answer:
        self.bucket.objects.pop(request.key, None)
        return Answer(204)

    def _delete_objects(self, request: Request) -> Answer:
        root = ET.fromstring(request.body)
        keys = [entry.text or "" for entry in root.iter() if entry.tag.rpartition("}")[2] == "Key"]
        for key in keys:
            self.bucket.objects.pop(key, None)
        return xml(200, "<DeleteResult></DeleteResult>")

    # Uploads of parts

    def _create_multipart_upload(self, request: Request) -> Answer:
        identity = self.bucket.begin(request.key, self._metadata(request))
        place = f"<Bucket>{self.bucket.name}</Bucket><Key></Key><UploadId>{identity}</UploadId>"
        return xml(200, f"<InitiateMultipartUploadResult>{place}</InitiateMultipartUploadResult>")

    def _upload_part(self, request: Request) -> Answer:
        upload = self.bucket.uploads.get(request.query["uploadId"])
        if upload is None:
            return error(404, "NoSuchUpload")
        refused = self._refused(request)
        if refused:
            return refused
        upload.parts[int(request.query["partNumber"])] = request.body
        return Answer(200, (("ETag", f'"{hashlib.md5(request.body).hexdigest()}"'),))  # noqa: S324

    def _complete_multipart_upload(self, request: Request) -> Answer:
        if request.query["uploadId"] not in self.bucket.uploads:
            return error(404, "NoSuchUpload")
        stored = self.bucket.complete(request.query["uploadId"])
        told = f"<ETag>{stored.etag}</ETag>"
        return xml(200, f"<CompleteMultipartUploadResult>{told}</CompleteMultipartUploadResult>")

    def _abort_multipart_upload(self, request: Request) -> Answer:
        gone = self.bucket.uploads.pop(request.query["uploadId"], None) is None
        return error(404, "NoSuchUpload") if gone else Answer(204)
