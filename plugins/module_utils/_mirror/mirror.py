# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A mirror: the objects of a bucket, with typed errors. Everything that is asked of S3 is asked here."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple, Optional, Protocol

from .._ollama.manifests import MAX_MANIFEST_SIZE
from .._ollama.names import ModelName
from .._ollama.references import References
from .._ollama.text import printable
from .direct import DirectReads
from .error_translation import translated
from .errors import (
    OF_THE_WHOLE_MIRROR,
    ListError,
    MirrorError,
    MirrorUnreachableError,
    NotS3Error,
    ObjectChangedError,
    ObjectMissingError,
)
from .layout import Layout
from .object_list import ObjectList, Page, read_page
from .quick import QuickGets, SdkBody
from .s3 import S3Settings, check, connect

#: Metadata of an object that we wrote: the SHA-256 of its content, in hexadecimal digits. S3 sends it in the header
#: x-amz-meta-sha256.
DIGEST_METADATA = "sha256"


#: Manifests read, or objects asked for, at once. They are small, so that waiting for the answer is all that they cost.
READERS = 8

#: Tries to read a small object whose answer breaks off.
READ_ATTEMPTS = 4


class ObjectState(NamedTuple):
    """What a mirror says of an object, without its content.

    :param size: in bytes.
    :param etag: changes when the object does; it is no digest of the content.
    :param digest: as recorded when we wrote it; ``None`` when somebody else did, or nobody asked.
    """

    key: str
    size: int
    etag: str
    modified: datetime
    digest: Optional[str] = None


class Mirror:
    """The objects of one mirror. Safe for use by several threads."""

    def __init__(self, settings: S3Settings, *, connections: int = 10) -> None:
        """Prepare the connection; nothing is sent yet.

        :param connections: how many requests will be under way at once, at most.
        :raises MissingDependencyError: when boto3 is not there.
        :raises MirrorSettingsError: when the settings cannot be right.
        """
        check(settings)
        self.settings = settings
        self.layout = Layout.below(settings.prefix)
        self._connections = connections
        self._sdk: Optional[tuple[Any, QuickGets]] = None
        self._lock = threading.Lock()
        self._answer = threading.local()
        self._direct = DirectReads(settings)
        if not self._direct.possible:
            self._connected()

    @property
    def client(self) -> Any:
        """The SDK's client."""
        return self._connected()[0]

    def _connected(self) -> tuple[Any, QuickGets]:
        with self._lock:
            if self._sdk is None:
                client = connect(self.settings, connections=self._connections)
                client.meta.events.register("response-received.s3.ListObjectsV2", self._keep_answer)
                self._sdk = client, QuickGets(client)
            return self._sdk

    def manifest(self, name: ModelName) -> Optional[bytes]:
        """Return the bytes of a manifest, sound or not; ``None`` when there is none.

        Of an object larger than a manifest can be, the beginning is returned, which no reader accepts.
        """
        try:
            return self.read(self.layout.manifest_key(name), MAX_MANIFEST_SIZE + 1)
        except ObjectMissingError as error:
            self._must_be_gone(error)
            return None

    def _must_be_gone(self, error: ObjectMissingError) -> None:
        """Make sure that it is an S3 server that says that an object is not there.

        :raises NotS3Error: when something else answers 404, such as a proxy whose server restarts.
        """
        if error.details.get("s3_code") != "NoSuchKey":
            raise NotS3Error(
                f"{error.message}; but an S3 server would have called this NoSuchKey",
                remedy=f"Check that {self.settings.where} leads to the S3 API: a web server or a proxy answered",
                **error.details,
            ) from error

    def names(self) -> list[ModelName]:
        """Return the names of all models, by their keys alone.

        :raises ListError: when not all of them can be listed.
        """
        found = (self.layout.name_of(entry.key) for entry in self.entries(self.layout.manifests))
        return [name for name in found if name is not None]

    def references(self, *, without: Collection[ModelName] = ()) -> References:
        """Return which models name which blobs.

        :param without: models whose manifests do not count.
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
        # Somebody removed them since they were listed, or else the list does not spell keys as they are.
        for name in sorted(gone and gone & self._listed().names):
            where = self.settings.url(self.layout.manifest_key(name))
            found.doubts.append(
                f"{self.settings.where} lists {where} and says that it does not exist."
                " Publish the model again, or repair the S3 server's index"
            )
        return found

    def _listed(self) -> References:
        """Return the models by their keys alone, with a doubt for each reason why there may be others."""
        found = References()
        try:
            for entry in self.entries(self.layout.manifests):
                name = self.layout.name_of(entry.key)
                if name is not None:
                    found.names.add(name)
                elif self.layout.may_be_manifest(entry.key):
                    found.doubts.append(
                        f"{self.settings.url(printable(entry.key))} cannot be read as a manifest, since its name is"
                        " that of no model. Remove it if it is no manifest"
                    )
        except ListError as error:
            found.doubts.append(str(error))
        return found

    def remove_manifest(self, name: ModelName) -> bool:
        """Remove a manifest. Whether it was there is not told by S3."""
        self.remove(self.layout.manifest_key(name))
        return True

    def remove_blob(self, digest: str) -> bool:
        """Remove a blob. Whether it was there is not told by S3."""
        self.remove(self.layout.blob_key(digest))
        return True

    def read(self, key: str, limit: int) -> bytes:
        """Return the content of a small object, at most ``limit`` bytes of it."""
        content = self._direct.object(key, limit)
        if content is not None:
            return content
        client, quick = self._connected()
        doing = f"read {self.settings.url(key)}"
        attempt = 1
        while True:
            with translated(self.settings, doing):
                answer = client.get_object(Bucket=self.settings.bucket, Key=key)
            try:
                # The SDK tries requests again, but not the reading of an answer, and need not notice when one is cut.
                with translated(self.settings, doing), answer["Body"] as body:
                    content = bytes(body.read(limit))
                    if len(content) < min(limit, answer["ContentLength"]):
                        raise ConnectionError("the answer ended early")
                    quick.learn(key)
                    return content
            except MirrorUnreachableError:
                if attempt == READ_ATTEMPTS:
                    raise
                attempt += 1
                time.sleep(random.uniform(0, 1))  # noqa: S311

    def state(self, key: str) -> Optional[ObjectState]:
        """Return the state of an object; ``None`` when there is none, or not even the bucket."""
        told = self._direct.state(key, DIGEST_METADATA)
        if told is not None:
            return ObjectState(*told[:4], _digest(told.recorded))
        doing = f"ask for {self.settings.url(key)}"
        try:
            with translated(self.settings, doing):
                answer = self.client.head_object(Bucket=self.settings.bucket, Key=key)
        except ObjectMissingError:
            return None
        except MirrorError:
            self._complain(key, doing)
            raise
        recorded = answer["Metadata"].get(DIGEST_METADATA)
        return ObjectState(key, answer["ContentLength"], answer["ETag"], answer["LastModified"], _digest(recorded))

    def find(self, key: str) -> Optional[ObjectState]:
        """Return the state of an object; ``None`` when there is none in the bucket, which was made sure of.

        :raises BucketMissingError: when there is no such bucket.
        """
        state = self.state(key)
        if state is None:
            try:
                self._complain(key, f"ask for {self.settings.url(key)}")
            except ObjectMissingError as error:
                self._must_be_gone(error)
        return state

    def _complain(self, key: str, doing: str) -> None:
        """Ask for an object once more, to be told what is wrong: an answer to HEAD has no body that could say it."""
        with translated(self.settings, doing):
            self.client.get_object(Bucket=self.settings.bucket, Key=key)["Body"].close()

    def entries(self, prefix: str) -> ObjectList:
        """Return the list of all objects whose keys begin with a prefix; it is asked for as it is iterated over."""

        def ask(token: str, after: str) -> Optional[Page]:
            return self._direct.page(prefix, token, after) or self._page(prefix, token, after)

        return ObjectList(prefix, ask, self.settings.where, self.settings.url(prefix))

    def _page(self, prefix: str, token: str, after: str) -> Optional[Page]:
        """Return a page of a list by way of the SDK, which decodes keys in one way only: the answer itself is read."""
        client, _quick = self._connected()
        which = {"Bucket": self.settings.bucket, "Prefix": prefix, "EncodingType": "url"}
        if token:
            which["ContinuationToken"] = token
        if after:
            which["StartAfter"] = after
        self._answer.body = None
        with translated(self.settings, f"list {self.settings.url(prefix)}"):
            client.list_objects_v2(**which)
        return read_page(self._answer.body) if self._answer.body else None

    def _keep_answer(self, *, response_dict: Optional[dict[str, Any]] = None, **_more: Any) -> None:
        self._answer.body = response_dict.get("body") if response_dict else None

    def open(self, key: str, start: int, stop: int, size: int, etag: str) -> ObjectStream:
        """Ask for the bytes from ``start`` up to ``stop``, exclusive, of an object.

        :param size: of the whole object.
        :raises ObjectChangedError: when the object is not of that size and ETag (any more).
        """
        url = self.settings.url(key)
        wanted = f"bytes={start}-{stop - 1}"
        with translated(self.settings, f"read {url}"):
            body, told, length = self._ask_for(key, wanted, etag)
        stream = ObjectStream(body, stop - start, self.settings, url)
        if told == f"bytes {start}-{stop - 1}/{size}" or (not told and length == size == stop - start):
            return stream
        stream.close()
        if told.endswith(f"/{size}") or not told:
            raise MirrorError(
                f"Could not read {url}: asked for bytes {start} to {stop - 1}, the server sent {told or 'all'}",
                remedy="Use an S3 server, or a proxy before it, that honours the Range header",
            )
        raise ObjectChangedError(f"Could not read {url}: it had {size} bytes, and now has another size ({told})")

    def _ask_for(self, key: str, wanted: str, etag: str) -> tuple[_Body, str, int]:
        """Ask for a range; return the body, which range it is as told, and its length."""
        answer = self._direct.range(key, wanted, etag)
        if answer is not None:
            return answer, answer.headers.get("content-range", ""), answer.length
        client, quick = self._connected()
        raw = quick.get(key, wanted, etag)
        if raw is not None:
            length = int(raw.headers.get("Content-Length", -1))
            return SdkBody(raw, length), raw.headers.get("Content-Range", ""), length
        told = client.get_object(Bucket=self.settings.bucket, Key=key, Range=wanted, IfMatch=etag)
        quick.learn(key)
        length = told["ContentLength"]
        return SdkBody(told["Body"]._raw_stream, length), told.get("ContentRange", ""), length

    def write(self, key: str, content: bytes, digest: str) -> None:
        """Write a small object as a whole, with its digest beside it."""
        with translated(self.settings, f"write {self.settings.url(key)}"):
            self.client.put_object(Bucket=self.settings.bucket, Key=key, Body=content, Metadata=digest_metadata(digest))

    def remove(self, key: str) -> None:
        """Remove an object. Whether it was there is not told by S3."""
        with translated(self.settings, f"remove {self.settings.url(key)}"):
            self.client.delete_object(Bucket=self.settings.bucket, Key=key)


def digest_metadata(digest: str) -> dict[str, str]:
    """Return the metadata that record a digest."""
    return {DIGEST_METADATA: digest.split(":", 1)[1]}


class _Body(Protocol):
    """The body of an answer."""

    def readinto(self, view: memoryview) -> int:
        """Receive bytes, and return how many; 0 at the end, be it too early."""

    def close(self) -> None:
        """Be done: the connection is used again if all was read, else it is cut."""


class ObjectStream:
    """The bytes of one answer."""

    def __init__(self, body: _Body, length: int, settings: S3Settings, url: str) -> None:
        self._body = body
        self._left = length
        self._settings = settings
        self._url = url

    def readinto(self, view: memoryview) -> int:
        """Receive some bytes, at least one, and return how many.

        :raises MirrorUnreachableError: when the connection breaks, or the answer is too short.
        """
        with translated(self._settings, f"read {self._url}"):
            count = self._body.readinto(view)
            if not count:
                raise ConnectionError(f"the answer ended {self._left} bytes early")
        self._left -= count
        return count

    def close(self) -> None:
        """Be done with the answer."""
        self._body.close()


def _digest(recorded: Optional[str]) -> Optional[str]:
    return f"sha256:{recorded}" if recorded else None
