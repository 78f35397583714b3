# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A mirror: the models that a bucket holds, over an object store."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Optional

from ..._ollama.manifests import MAX_MANIFEST_SIZE
from ..._ollama.names import ModelName
from ..._ollama.references import References
from ..._ollama.text import printable
from ..errors import (
    OF_THE_CONNECTION,
    OF_THE_WHOLE_MIRROR,
    ListError,
    MirrorAccessError,
    MirrorError,
    NotS3Error,
    ObjectMissingError,
)
from .error_translation import no_manifest
from .layout import Layout
from .object_list import ListPage, ObjectList
from .object_store import ObjectStore, PartsUpload, connected
from .object_stream import ObjectStream
from .objects import DIGEST_METADATA, ObjectState, if_match, state_of
from .range_response import check_range, sender
from .settings import S3Settings

#: The number of manifests to read, or of objects to ask for, at the same time. The requests mostly wait for answers.
READERS = 8


class Mirror:
    """The models and objects of one mirror. Safe for use by several threads.

    The first half is about models, the second half about single objects.

    :ivar layout: the keys of manifests and blobs.
    :ivar remarks: messages to the user about peculiarities of the server that do not stop the work.
    :ivar drops_metadata: whether the server has dropped the digest that was recorded with an object.
    """

    def __init__(self, settings: S3Settings, *, connections: int = 10, objects: Optional[ObjectStore] = None) -> None:
        """Prepare the connection; nothing is sent yet.

        :param connections: the number of requests that run at the same time, at most.
        :param objects: the object store; by default, that of the bucket in the settings.
        :raises MissingDependencyError: if boto3 is not installed.
        :raises MirrorSettingsError: if a setting is invalid.
        """
        self._objects = objects or connected(settings, connections=connections)
        self.layout = Layout.below(settings.prefix)
        self._lock = threading.Lock()
        self._honours_etags = True
        self.drops_metadata = False
        self.remarks: list[str] = []

    @property
    def settings(self) -> S3Settings:
        """The settings of the mirror. Once the SDK has connected, they also name the server of a profile."""
        return self._objects.settings

    @property
    def where(self) -> str:
        """The server, as messages name it."""
        return self.settings.where

    def manifest(self, name: ModelName) -> Optional[bytes]:
        """Return the bytes of a manifest, valid or not; ``None`` if the mirror does not have it.

        If the object is larger than any manifest, only its beginning is returned, which is not a valid manifest.

        :raises NotS3Error: if a server sends a web page in place of the manifest.
        """
        key = self.layout.manifest_key(name)
        try:
            content = self.read(key, MAX_MANIFEST_SIZE + 1)
        except ObjectMissingError as error:
            self._must_be_gone(error)
            return None
        if content.lstrip()[:1] == b"<":
            raise no_manifest(content, self.settings, self.settings.url(key))
        return content

    def _must_be_gone(self, error: ObjectMissingError) -> None:
        """Make sure that an S3 server reported an object as missing.

        :raises NotS3Error: if another server answered 404, such as a proxy while the S3 server restarts.
        """
        if error.details.get("s3_code") != "NoSuchKey":
            raise NotS3Error(
                f"{error.message}; but the answer lacks the code NoSuchKey, which S3 servers send",
                remedy=f"Check that {self.settings.where} leads to the S3 API: a web server or a proxy answered",
                **error.details,
            ) from error

    def names(self) -> list[ModelName]:
        """Return the names of all models, by the keys of their manifests. No manifest is read.

        :raises ListError: if the list is incomplete.
        """
        found = (self.layout.name_of(entry.key) for entry in self.entries(self.layout.manifests))
        return [name for name in found if name is not None]

    def references(self, *, without: Collection[ModelName] = ()) -> References:
        """Return the blobs that each model names, with every reason why this may be incomplete.

        :param without: models to leave out.
        """
        found = self._listed()
        names = sorted(found.names.difference(without))
        gone = set()
        with ThreadPoolExecutor(READERS) as pool:
            answers = {name: pool.submit(self.manifest, name) for name in names}
            for name, answer in answers.items():
                where = self.settings.url(self.layout.manifest_key(name))
                try:
                    if not found.add(name, answer.result, where, fatal=OF_THE_WHOLE_MIRROR):
                        gone.add(name)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        # Either somebody removed these manifests after the list was made, or the list spells their keys wrongly.
        for name in sorted(gone and gone & self._listed().names):
            where = self.settings.url(self.layout.manifest_key(name))
            found.doubts.append(
                f"{self.settings.where} lists {where} and says that it does not exist."
                " Publish the model again, or repair the S3 server's index"
            )
        return found

    def _listed(self) -> References:
        """Return the listed models, with every reason why there may be others."""
        found = References()
        try:
            for entry in self.entries(self.layout.manifests):
                name = self.layout.name_of(entry.key)
                if name is not None:
                    found.names.add(name)
                elif self.layout.may_be_manifest(entry.key):
                    found.doubts.append(
                        f"{self.settings.url(printable(entry.key))} cannot be read as a manifest, because its name is"
                        " not a model name. Remove the object if it is not a manifest"
                    )
        except ListError as error:
            found.doubts.append(str(error))
        return found

    def signature(self, name: ModelName, digest: str, limit: int) -> Optional[bytes]:
        """Return at most ``limit`` bytes of a model's signature, valid or not; ``None`` if there is no signature.

        :param digest: the digest of the manifest.
        """
        try:
            return self.read(self.layout.signature_key(name, digest), limit)
        except ObjectMissingError as error:
            self._must_be_gone(error)
            return None

    def remove_manifest(self, name: ModelName) -> bool:
        """Remove a manifest, with its signatures. S3 does not report whether it existed."""
        self.remove(self.layout.manifest_key(name))
        with contextlib.suppress(MirrorAccessError, ListError):  # a key may lack the right to list
            for entry in self.entries(self.layout.signatures_of(name)):
                self.remove(entry.key)
        return True

    def remove_blob(self, digest: str) -> bool:
        """Remove a blob and the list of its pieces. S3 does not report whether they existed."""
        self.remove(self.layout.blob_key(digest))
        self.remove(self.layout.pieces_key(digest))
        return True

    def read(self, key: str, limit: int) -> bytes:
        """Return the content of a small object, at most ``limit`` bytes of it."""
        return self._objects.get(key, limit)

    def state(self, key: str) -> Optional[ObjectState]:
        """Return the state of an object; ``None`` if the object or the bucket does not exist."""
        try:
            headers = self._objects.head(key)
        except ObjectMissingError:
            return None
        except OF_THE_CONNECTION:
            raise
        except MirrorError:
            headers = {}
        try:
            return state_of(key, headers) or self._state_by_reading(key)
        except ObjectMissingError as error:
            self._must_be_gone(error)
            return None

    def find(self, key: str) -> Optional[ObjectState]:
        """Return the state of an object; ``None`` if the bucket exists and has no such object.

        :raises BucketMissingError: if there is no such bucket.
        """
        state = self.state(key)
        if state is None:
            try:
                return self._state_by_reading(key)
            except ObjectMissingError as error:
                self._must_be_gone(error)
        return state

    def _state_by_reading(self, key: str) -> ObjectState:
        """Return the state of an object by reading its first byte, if HEAD did not help.

        An answer to HEAD has no body that could explain an error, some proxies refuse HEAD, and some servers leave the
        size out of an answer to HEAD.

        :raises MirrorError: if the server reports an error, or does not report the object's size.
        """
        headers = self._objects.first_byte(key)
        state = state_of(key, headers)
        if state is None:
            raise MirrorError(
                f"Could not ask for {self.settings.url(key)}: {self.settings.where} sends its size neither in"
                f" Content-Length nor in Content-Range{sender(headers)}",
                remedy="Look for a proxy that removes these headers, such as one that compresses answers",
                endpoint=self.settings.where,
                bucket=self.settings.bucket,
            )
        return state

    def entries(self, prefix: str) -> ObjectList:
        """Return the list of all objects whose keys begin with a prefix. Each page is requested when it is needed."""

        def ask(token: str, after: str) -> Optional[ListPage]:
            return self._objects.page(prefix, token, after)

        return ObjectList(prefix, ask, self.settings.where, self.settings.url(prefix))

    def open(self, key: str, start: int, stop: int, size: int, etag: str) -> ObjectStream:
        """Ask for the bytes from ``start`` up to ``stop``, exclusive, of an object.

        :param size: bytes of the whole object.
        :param etag: the ETag that the object must have; empty for any.
        :raises ObjectChangedError: if the object has another size or another ETag.
        """
        url = self.settings.url(key)
        match = if_match(etag) if self._honours_etags else {}
        response = self._objects.range(key, {"Range": f"bytes={start}-{stop - 1}", **match})
        stream = ObjectStream(response.body, stop - start, self.settings, url)
        try:
            check_range(response, start, stop, size, self.settings, url)
        except MirrorError:
            stream.close()
            raise
        return stream

    def refuses_its_etag(self, state: ObjectState) -> bool:
        """Return whether the server refuses a request for an object with the object's current ETag.

        If so, objects are read without ``If-Match`` from now on; their digests show whether the bytes are right.
        """
        if not self._honours_etags:
            return True
        now = self.find(state.key)
        if now is None or now.etag != state.etag:
            return False
        with self._lock:
            if self._honours_etags:
                self._honours_etags = False
                self.remarks.append(
                    f"{self.settings.where} answers 412 to its own ETag of {self.settings.url(state.key)}, perhaps"
                    " because a proxy changes ETags; objects are read without If-Match, and their digests are verified"
                    " as always"
                )
        return True

    def write(self, key: str, content: bytes, digest: str) -> None:
        """Write a small object in one request, with its digest as metadata.

        :raises NotS3Error: if the server reports success, but does not have the object.
        """
        if not self._objects.put(key, content, digest):
            self.must_be_written(key, len(content))

    def begin_upload(self, key: str, digest: str) -> PartsUpload:
        """Begin an object that is sent in parts, with its digest as metadata.

        :raises NotS3Error: if another server than an S3 server has answered.
        """
        return self._objects.begin_upload(key, digest)

    def must_be_written(self, key: str, size: int) -> None:
        """Make sure that an object was written, if the answer does not prove it.

        :raises NotS3Error: if the object does not exist, or has another size.
        """
        state = self.find(key)
        if state is None or state.size != size:
            found = "it is not there" if state is None else f"it has {state.size} bytes instead of {size}"
            raise NotS3Error(
                f"Could not write {self.settings.url(key)}: {self.settings.where} answered with success, and {found}",
                remedy="Set endpoint_url to the S3 API of the server; if a proxy or a gateway lies between, it answers"
                " in place of the server",
                endpoint=self.settings.where,
                bucket=self.settings.bucket,
            )

    def look_at_written(self, key: str, digest: str) -> None:
        """Add a remark if the server has dropped the digest that was recorded with an object."""
        with contextlib.suppress(MirrorError):  # a key may have the right to write and not the right to read
            state = self.state(key)
            if state is not None and state.digest != digest and not self.drops_metadata:
                self.drops_metadata = True
                self.remarks.append(
                    f"{self.settings.where} drops the metadata of objects: {self.settings.url(key)} was written with"
                    f" x-amz-meta-{DIGEST_METADATA}, and does not have it now; objects whose ETag is not an MD5 are"
                    " sent again in every run"
                )

    def remove(self, key: str) -> None:
        """Remove an object. S3 does not report whether it existed."""
        self._objects.delete(key)
