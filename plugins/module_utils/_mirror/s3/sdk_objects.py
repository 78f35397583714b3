# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Reads and writes through the SDK, which handles redirects, busy servers, expired credentials and proxies."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Optional

from ..._ollama.errors import CollectionError
from ..retry import OBJECT_READS
from .bodies import BodySender
from .client import connect
from .error_translation import compressed, translated
from .object_list import ListPage, read_page
from .objects import ByteRange, byte_range, compression, content_length, digest_metadata
from .range_response import RangeResponse
from .sdk_upload import SdkUpload
from .settings import S3Settings
from .signed_ranges import SdkBody, SignedRanges


class SdkObjects:
    """The objects of one bucket through the SDK: an :class:`ObjectStore`. Safe for use by several threads.

    :ivar settings: the bucket, and the server as messages name it. The SDK may find the server only when it connects.
    """

    def __init__(
        self,
        settings: S3Settings,
        *,
        connections: int = 10,
        signed: Optional[SignedRanges] = None,
        client: Any = None,
    ) -> None:
        """
        :param connections: the number of requests that run at the same time, at most.
        :param signed: the reader that learns from the requests of the SDK.
        :param client: the SDK's client; by default, the first request creates one.
        """
        self.settings = settings
        self._sender = BodySender()
        self._connections = connections
        self._signed = signed
        self._client = client
        self._lock = threading.Lock()
        self._list = threading.local()

    @property
    def client(self) -> Any:
        """The SDK's client; the first use creates it."""
        return self.connect() if self._client is None else self._client

    def connect(self) -> Any:
        """Create the SDK's client, unless there is one, and return it; nothing is sent yet.

        :raises MirrorSettingsError: if a setting is invalid.
        """
        with self._lock:
            if self._client is None:
                client = connect(self.settings, connections=self._connections)
                client.meta.events.register("response-received.s3.ListObjectsV2", self.keep_list)
                self.settings = replace(self.settings, found_url=client.meta.endpoint_url)
                if self._signed is not None:
                    self._signed.watch(client)
                self._client = client
            return self._client

    def get(self, key: str, limit: int) -> bytes:
        """Return the content of an object, at most ``limit`` bytes."""
        doing = f"read {self.settings.url(key)}"
        failures = 0
        while True:
            with translated(self.settings, doing):
                answer = self.client.get_object(Bucket=self.settings.bucket, Key=key)
            try:
                with translated(self.settings, doing):
                    content = self._content(answer, limit, doing)
            except CollectionError as error:
                failures += 1
                if not OBJECT_READS.covers(error) or OBJECT_READS.is_final(failures):
                    raise
                time.sleep(OBJECT_READS.pause(failures))
            else:
                self._learn(key)
                return content

    def _content(self, answer: Mapping[str, Any], limit: int, doing: str) -> bytes:
        headers = _headers(answer)
        with answer["Body"] as body:
            if compression(headers):
                raise compressed(headers, self.settings, doing)
            content = bytes(body.read(limit))
        # The SDK does not always notice that an answer is truncated.
        if len(content) < min(limit, content_length(headers) or 0):
            raise ConnectionResetError(errno.ECONNRESET, "the answer ended early")
        return content

    def head(self, key: str) -> Mapping[str, str]:
        """Return the headers of an object."""
        with translated(self.settings, f"ask for {self.settings.url(key)}"):
            return _headers(self.client.head_object(Bucket=self.settings.bucket, Key=key))

    def first_byte(self, key: str) -> Mapping[str, str]:
        """Return the headers of the answer to a GET of the first byte."""
        with translated(self.settings, f"ask for {self.settings.url(key)}"):
            try:
                answer = self.client.get_object(Bucket=self.settings.bucket, Key=key, Range="bytes=0-0")
            except Exception as error:
                headers = _headers(getattr(error, "response", {}))
                if byte_range(headers) != ByteRange(None, None, 0):  # the range of an empty object
                    raise
                return headers
            answer["Body"].close()
            return _headers(answer)

    def range(self, key: str, asked: Mapping[str, str]) -> RangeResponse:
        """Ask for a byte range of an object."""
        parameters = {name.replace("-", ""): value for name, value in asked.items()}
        with translated(self.settings, f"read {self.settings.url(key)}"):
            answer = self.client.get_object(Bucket=self.settings.bucket, Key=key, **parameters)
            headers = _headers(answer)
            body = SdkBody(answer["Body"]._raw_stream, content_length(headers))
        if not compression(headers):
            self._learn(key)
        return RangeResponse(body, answer["ResponseMetadata"]["HTTPStatusCode"], headers)

    def page(self, prefix: str, token: str, after: str) -> Optional[ListPage]:
        """Return one page of a list. The SDK decodes keys in one way only, so this reads the XML itself."""
        which = {"Bucket": self.settings.bucket, "Prefix": prefix, "EncodingType": "url"}
        if token:
            which["ContinuationToken"] = token
        if after:
            which["StartAfter"] = after
        self._list.answer = None
        with translated(self.settings, f"list {self.settings.url(prefix)}"):
            self.client.list_objects_v2(**which)
        return read_page(self._list.answer) if self._list.answer else None

    def keep_list(self, *, response_dict: Optional[dict[str, Any]] = None, **_more: Any) -> None:
        """Keep the answer to this thread's list request; the SDK calls this before it reads the answer."""
        self._list.answer = response_dict.get("body") if response_dict else None

    def put(self, key: str, content: bytes, digest: str) -> bool:
        """Write an object with its digest as metadata; return whether the answer has an ETag."""
        which = {"Bucket": self.settings.bucket, "Key": key, "Metadata": digest_metadata(digest)}
        with translated(self.settings, f"write {self.settings.url(key)}"):
            answer = self._sender.send(self.client.put_object, content, **which)
        return bool(answer.get("ETag"))

    def begin_upload(self, key: str, digest: str) -> SdkUpload:
        """Begin an object that is sent in parts, with its digest as metadata."""
        return SdkUpload(self.client, self._sender, self.settings, key, digest)

    def delete(self, key: str) -> None:
        """Remove an object."""
        with translated(self.settings, f"remove {self.settings.url(key)}"):
            self.client.delete_object(Bucket=self.settings.bucket, Key=key)

    def _learn(self, key: str) -> None:
        if self._signed is not None:
            self._signed.learn(key)


def _headers(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the headers of an answer of the SDK, by their names in lower case."""
    headers: Mapping[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers
