# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A parsed S3 request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

#: Operations by method, by what a query has, and by whether there is a key (Amazon S3 API reference).
_OF_OBJECT = {
    "HEAD": (("", "HeadObject"),),
    "GET": (("", "GetObject"),),
    "PUT": (("uploadId", "UploadPart"), ("", "PutObject")),
    "POST": (("uploadId", "CompleteMultipartUpload"), ("uploads", "CreateMultipartUpload")),
    "DELETE": (("uploadId", "AbortMultipartUpload"), ("", "DeleteObject")),
}
_OF_BUCKET = {
    "HEAD": (("", "HeadBucket"),),
    "GET": (
        ("location", "GetBucketLocation"),
        ("uploads", "ListMultipartUploads"),
        ("list-type", "ListObjectsV2"),
        ("", "ListObjects"),
    ),
    "PUT": (("", "CreateBucket"),),
    "POST": (("delete", "DeleteObjects"),),
}


@dataclass(frozen=True)
class Request:
    """One request.

    :param target: path and query as they came.
    :param headers: by their names in lower case.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def _path(self) -> str:
        return unquote(urlsplit(self.target).path).lstrip("/")

    @property
    def bucket(self) -> str:
        return self._path.partition("/")[0]

    @property
    def key(self) -> str:
        return self._path.partition("/")[2]

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def operation(self) -> str:
        """The name of the operation in the S3 API, or ``Unknown``."""
        query = self.query
        for mark, operation in (_OF_OBJECT if self.key else _OF_BUCKET).get(self.method, ()):
            if not mark or mark in query:
                return operation
        return "Unknown"

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of the request's object."""
        mark = "x-amz-meta-"
        return {name[len(mark) :]: value for name, value in self.headers.items() if name.startswith(mark)}

    def of(self, place: str) -> bool:
        """Return whether this is a request of one of the :data:`PLACES`."""
        operations, part = PLACES[place]
        return (not operations or self.operation in operations) and part in f"/{self.key}"


_READS = ("GetObject",)
_WRITES = ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")

#: Groups of requests by name: the operations (none means all), and what the key must have in it.
PLACES: dict[str, tuple[tuple[str, ...], str]] = {
    "anything": ((), ""),
    "listing": (("ListObjectsV2", "ListObjects"), ""),
    "state": (("HeadObject",), ""),
    "content": (_READS, ""),
    "manifest": (_READS, "/manifests/"),
    "one manifest": (_READS, "/library/b/latest"),
    "blob": (_READS, "/blobs/"),
    "write": (_WRITES, ""),
    "upload": (("CreateMultipartUpload",), ""),
    "part": (("UploadPart",), ""),
    "completion": (("CompleteMultipartUpload",), ""),
    "abort": (("AbortMultipartUpload",), ""),
    "removal": (("DeleteObject", "DeleteObjects"), ""),
}
