# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The object store of a mirror: the S3 operations that it needs, and the readers that carry them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Callable, Optional, Protocol, TypeVar

from .client import check
from .plain_reads import PlainReads
from .sdk_objects import SdkObjects
from .signed_ranges import SignedRanges

if TYPE_CHECKING:
    from .object_list import ListPage
    from .range_response import RangeResponse
    from .settings import S3Settings

_Result = TypeVar("_Result")


class ObjectStore(Protocol):
    """The objects of one bucket. Several threads use a store at the same time.

    Every method raises a :class:`MirrorError` if the server cannot be reached or refuses the request.
    """

    @property
    def settings(self) -> S3Settings:
        """The bucket, and the server as messages name it."""

    def get(self, key: str, limit: int) -> bytes:
        """Return the content of an object, at most ``limit`` bytes.

        :raises ObjectMissingError: if there is no such object.
        """

    def head(self, key: str) -> Mapping[str, str]:
        """Return the headers of an object, by their names in lower case.

        :raises ObjectMissingError: if the object or the bucket does not exist.
        """

    def first_byte(self, key: str) -> Mapping[str, str]:
        """Return the headers of the answer to a GET of the first byte. Unlike HEAD, GET has a body with the error.

        :raises ObjectMissingError: if there is no such object.
        """

    def range(self, key: str, asked: Mapping[str, str]) -> RangeResponse:
        """Ask for a byte range of an object.

        :param asked: the headers ``Range`` and, if the object must have a known ETag, ``If-Match``.
        :raises ObjectChangedError: if the object has another ETag.
        :raises ObjectMissingError: if there is no such object.
        """

    def page(self, prefix: str, token: str, after: str) -> Optional[ListPage]:
        """Return one page of the list of keys that begin with a prefix; ``None`` if the answer is not a list.

        :param token: the page's continuation token; empty for the first page.
        :param after: the key after which the page begins, or empty.
        """

    def put(self, key: str, content: bytes, digest: str) -> bool:
        """Write an object with its digest as metadata; return whether the answer has the ETag that proves the write."""

    def begin_upload(self, key: str, digest: str) -> PartsUpload:
        """Begin an object that is sent in parts, with its digest as metadata.

        :raises NotS3Error: if the answer does not name the upload.
        """

    def delete(self, key: str) -> None:
        """Remove an object. S3 does not report whether it existed."""


class PartsUpload(Protocol):
    """An object that is sent in parts. Several threads send parts at the same time.

    Every method raises a :class:`MirrorError` if the server cannot be reached or refuses the request.

    :ivar name: the UploadId that the server gave to the upload.
    """

    name: str

    def send(self, number: int, content: bytes) -> str:
        """Send a part; return its ETag.

        :param number: the number of the part, from 1.
        """

    def complete(self, etags: Mapping[int, str]) -> bool:
        """Complete the object from its parts; return whether the answer has the ETag that proves it.

        :param etags: the ETags of the parts, by part number.
        """

    def abort(self) -> None:
        """Abort the upload; the server removes the parts."""


class ObjectReader(Protocol):
    """A fast way to read objects. Each method returns ``None`` for a request that the next reader must make."""

    def get(self, key: str, limit: int) -> Optional[bytes]:
        """As :meth:`ObjectStore.get`."""

    def head(self, key: str) -> Optional[Mapping[str, str]]:
        """As :meth:`ObjectStore.head`."""

    def range(self, key: str, asked: Mapping[str, str]) -> Optional[RangeResponse]:
        """As :meth:`ObjectStore.range`."""

    def page(self, prefix: str, token: str, after: str) -> Optional[ListPage]:
        """As :meth:`ObjectStore.page`."""


class ReaderChain:
    """An object store that tries several readers in turn for each read.

    The SDK is the last reader. It also makes all writes, and only the SDK raises errors: if a fast reader fails, it
    returns ``None``, and the SDK repeats the request.
    """

    def __init__(self, readers: Sequence[ObjectReader], sdk: SdkObjects) -> None:
        """:param readers: the fast readers, the fastest first."""
        self._readers = tuple(readers)
        self._sdk = sdk

    @property
    def settings(self) -> S3Settings:
        """The bucket, and the server as messages name it."""
        return self._sdk.settings

    def get(self, key: str, limit: int) -> bytes:
        """Return the content of an object, at most ``limit`` bytes."""
        content = self._first(lambda reader: reader.get(key, limit))
        return self._sdk.get(key, limit) if content is None else content

    def head(self, key: str) -> Mapping[str, str]:
        """Return the headers of an object."""
        headers = self._first(lambda reader: reader.head(key))
        return self._sdk.head(key) if headers is None else headers

    def first_byte(self, key: str) -> Mapping[str, str]:
        """Return the headers of a GET of the first byte. The SDK sends it, for its error explains a refused HEAD."""
        return self._sdk.first_byte(key)

    def range(self, key: str, asked: Mapping[str, str]) -> RangeResponse:
        """Ask for a byte range of an object."""
        return self._first(lambda reader: reader.range(key, asked)) or self._sdk.range(key, asked)

    def page(self, prefix: str, token: str, after: str) -> Optional[ListPage]:
        """Return one page of a list."""
        return self._first(lambda reader: reader.page(prefix, token, after)) or self._sdk.page(prefix, token, after)

    def put(self, key: str, content: bytes, digest: str) -> bool:
        """Write an object."""
        return self._sdk.put(key, content, digest)

    def begin_upload(self, key: str, digest: str) -> PartsUpload:
        """Begin an object that is sent in parts."""
        return self._sdk.begin_upload(key, digest)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._sdk.delete(key)

    def _first(self, ask: Callable[[ObjectReader], Optional[_Result]]) -> Optional[_Result]:
        for reader in self._readers:
            result = ask(reader)
            if result is not None:
                return result
        return None


def connected(settings: S3Settings, *, connections: int = 10) -> ReaderChain:
    """Return the objects of a bucket. Nothing is sent yet.

    The readers, the fastest first: :class:`PlainReads` needs no SDK at all, :class:`SignedRanges` reuses the SDK's
    signer and connections, :class:`SdkObjects` handles everything else.

    :param connections: the number of requests that run at the same time, at most.
    :raises MissingDependencyError: if boto3 is not installed.
    :raises MirrorSettingsError: if a setting is invalid.
    """
    check(settings)
    plain, signed = PlainReads(settings), SignedRanges()
    sdk = SdkObjects(settings, connections=connections, signed=signed)
    if not plain.possible:
        sdk.connect()  # reports invalid settings now, before the work begins
    return ReaderChain((plain, signed), sdk)
