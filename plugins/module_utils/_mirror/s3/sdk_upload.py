# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A multipart upload through the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import MirrorError, NotS3Error
from .bodies import BodySender
from .error_translation import translated
from .objects import digest_metadata
from .settings import S3Settings


class SdkUpload:
    """An upload in parts through the SDK: a :class:`PartsUpload`. Safe for use by several threads.

    :ivar name: the UploadId that the server gave to the upload.
    """

    def __init__(self, client: Any, sender: BodySender, settings: S3Settings, key: str, digest: str) -> None:
        """Begin the upload.

        :param digest: the digest of the object, which is recorded as metadata.
        :raises NotS3Error: if the answer does not name the upload.
        """
        self._client = client
        self._sender = sender
        self._settings = settings
        self._doing = f"write {settings.url(key)}"
        with translated(settings, self._doing):
            begun = client.create_multipart_upload(Bucket=settings.bucket, Key=key, Metadata=digest_metadata(digest))
        if not begun.get("UploadId"):
            raise NotS3Error(
                f"Could not {self._doing}: {settings.where} began a multipart upload without an UploadId",
                remedy="Look for a proxy that changes answers, or update the S3 server",
                endpoint=settings.where,
                bucket=settings.bucket,
            )
        self.name: str = begun["UploadId"]
        self._which = {"Bucket": settings.bucket, "Key": key, "UploadId": self.name}

    def send(self, number: int, content: bytes) -> str:
        """Send a part; return its ETag."""
        with translated(self._settings, self._doing):
            answer = self._sender.send(self._client.upload_part, content, **self._which, PartNumber=number)
        etag: str = answer.get("ETag") or ""
        if not etag:
            raise MirrorError(
                f"Could not {self._doing}: {self._settings.where} answered without an ETag for a part",
                remedy="Look for a proxy that removes the header ETag: S3 needs it to complete an object",
                endpoint=self._settings.where,
                bucket=self._settings.bucket,
            )
        return etag

    def complete(self, etags: Mapping[int, str]) -> bool:
        """Complete the object from its parts; return whether the answer has the ETag that proves it."""
        parts = [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]
        with translated(self._settings, self._doing):
            answer = self._client.complete_multipart_upload(**self._which, MultipartUpload={"Parts": parts})
        return bool(answer.get("ETag"))

    def abort(self) -> None:
        """Abort the upload; the server removes the parts."""
        with translated(self._settings, "end the upload"):
            self._client.abort_multipart_upload(**self._which)
