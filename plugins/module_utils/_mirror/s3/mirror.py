# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A mirror: the objects of a bucket, with typed errors. Everything that is asked of S3 is asked here."""

from __future__ import annotations

import contextlib
import errno
import random
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Optional

from ..._ollama.manifests import MAX_MANIFEST_SIZE
from ..._ollama.names import ModelName
from ..._ollama.references import References
from ..._ollama.text import printable
from ..errors import (
    OF_THE_CONNECTION,
    OF_THE_WHOLE_MIRROR,
    ListError,
    MirrorError,
    MirrorUnreachableError,
    NotS3Error,
    ObjectChangedError,
    ObjectMissingError,
)
from .bodies import BodySender
from .client import check, connect
from .error_translation import compressed, no_manifest, translated
from .layout import Layout
from .object_list import ObjectList, Page, read_page
from .object_stream import Body, ObjectStream
from .objects import (
    DIGEST_METADATA,
    ByteRange,
    ObjectState,
    byte_range,
    compression,
    content_length,
    digest_metadata,
    if_match,
    state_of,
)
from .plain_reads import PlainReads
from .settings import S3Settings
from .signed_ranges import SdkBody, SignedRanges

#: Manifests read, or objects asked for, at once. They are small, so that waiting for the answer is all that they cost.
READERS = 8

#: Tries to read a small object whose answer breaks off.
READ_ATTEMPTS = 4


class Mirror:
    """The objects of one mirror. Safe for use by several threads.

    :ivar remarks: what is peculiar about the server, and should be known although the work goes on.
    :ivar drops_metadata: whether it was seen not to keep the digest that is recorded with an object.
    """

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
        self._sdk: Optional[tuple[Any, SignedRanges]] = None
        self._lock = threading.Lock()
        self._answer = threading.local()
        self._honours_etags = True
        self.sender = BodySender()
        self.drops_metadata = False
        self.remarks: list[str] = []
        self._direct = PlainReads(settings)
        if not self._direct.possible:
            self._connected()

    @property
    def where(self) -> str:
        """The server, as messages call it."""
        return self.settings.where

    @property
    def client(self) -> Any:
        """The SDK's client."""
        return self._connected()[0]

    def _connected(self) -> tuple[Any, SignedRanges]:
        with self._lock:
            if self._sdk is None:
                client = connect(self.settings, connections=self._connections)
                client.meta.events.register("response-received.s3.ListObjectsV2", self._keep_answer)
                self.settings = replace(self.settings, found_url=client.meta.endpoint_url)
                self._sdk = client, SignedRanges(client)
            return self._sdk

    def manifest(self, name: ModelName) -> Optional[bytes]:
        """Return the bytes of a manifest, sound or not; ``None`` when there is none.

        Of an object larger than a manifest can be, the beginning is returned, which no reader accepts.

        :raises NotS3Error: when a web page is sent in its place.
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
            headers = _headers(answer)
            try:
                # The SDK tries requests again, but not the reading of an answer, and need not notice when one is cut.
                with translated(self.settings, doing), answer["Body"] as body:
                    if compression(headers):
                        raise compressed(headers, self.settings, doing)
                    content = bytes(body.read(limit))
                    if len(content) < min(limit, content_length(headers) or 0):
                        raise ConnectionResetError(errno.ECONNRESET, "the answer ended early")
                    quick.learn(key)
                    return content
            except MirrorUnreachableError:
                if attempt == READ_ATTEMPTS:
                    raise
                attempt += 1
                time.sleep(random.uniform(0, 1))  # noqa: S311

    def state(self, key: str) -> Optional[ObjectState]:
        """Return the state of an object; ``None`` when there is none, or not even the bucket."""
        headers = self._direct.head(key)
        if headers is None:
            try:
                with translated(self.settings, f"ask for {self.settings.url(key)}"):
                    headers = _headers(self.client.head_object(Bucket=self.settings.bucket, Key=key))
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
        """Return the state of an object; ``None`` when there is none in the bucket, which was made sure of.

        :raises BucketMissingError: when there is no such bucket.
        """
        state = self.state(key)
        if state is None:
            try:
                return self._state_by_reading(key)
            except ObjectMissingError as error:
                self._must_be_gone(error)
        return state

    def _state_by_reading(self, key: str) -> ObjectState:
        """Ask for the first byte of an object, where HEAD does not do.

        An answer to HEAD has no body that could say what is wrong, proxies refuse HEAD, and some servers leave the size
        out of its answer.

        :raises MirrorError: what is wrong, or that the server does not say how large the object is.
        """
        url = self.settings.url(key)
        with translated(self.settings, f"ask for {url}"):
            try:
                answer = self.client.get_object(Bucket=self.settings.bucket, Key=key, Range="bytes=0-0")
                answer["Body"].close()
                headers = _headers(answer)
            except Exception as error:
                headers = _headers(getattr(error, "response", {}))
                if byte_range(headers) != ByteRange(None, None, 0):  # what a server says of an empty object
                    raise
        state = state_of(key, headers)
        if state is None:
            raise MirrorError(
                f"Could not ask for {url}: {self.settings.where} says neither with Content-Length nor with"
                f" Content-Range how large it is{_sender(headers)}",
                remedy="Look for a proxy that takes these headers away, such as one that compresses answers",
                endpoint=self.settings.where,
                bucket=self.settings.bucket,
            )
        return state

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
        :param etag: that it must have; empty for any.
        :raises ObjectChangedError: when the object is not of that size and ETag (any more).
        """
        url = self.settings.url(key)
        match = if_match(etag) if self._honours_etags else {}
        with translated(self.settings, f"read {url}"):
            body, status, headers = self._ask_for(key, {"Range": f"bytes={start}-{stop - 1}", **match})
        stream = ObjectStream(body, stop - start, self.settings, url)
        try:
            self._must_be_range(url, status, headers, start, stop, size)
        except MirrorError:
            stream.close()
            raise
        return stream

    def _must_be_range(
        self, url: str, status: int, headers: Mapping[str, str], start: int, stop: int, size: int
    ) -> None:
        """Make sure that an answer has the bytes that were asked for, as far as its head says which ones it has.

        :raises ObjectChangedError: when the object has another size.
        """
        told, length = byte_range(headers), content_length(headers)
        if compression(headers) and length != stop - start:
            raise compressed(headers, self.settings, f"read {url}")
        # Without Content-Range, an answer with status 200 is the whole object.
        found = told.size if told else (length if status == 200 else size)
        if found not in (None, size):
            raise ObjectChangedError(
                f"Could not read {url}: it had {size} bytes, and {self.settings.where} sends {found} now",
                remedy="Run again; if it stays, publish the model again",
                endpoint=self.settings.where,
                bucket=self.settings.bucket,
            )
        first, last = (told.first, told.last) if told else (0, size - 1) if status == 200 else (start, stop - 1)
        if (first, last) != (start, stop - 1) or length not in (None, stop - start):
            sent = f"bytes {first} to {last}" if told else "all of it" if status == 200 else f"{length} bytes"
            raise MirrorError(
                f"Could not read {url}: asked for bytes {start} to {stop - 1}, {self.settings.where} sent {sent}"
                f"{_sender(headers)}",
                remedy="Use an S3 server, and a proxy before it, that honours the Range header",
                endpoint=self.settings.where,
                bucket=self.settings.bucket,
            )

    def _ask_for(self, key: str, asked: Mapping[str, str]) -> tuple[Body, int, Mapping[str, str]]:
        """Ask for a range; return the body, the status, and the headers, which are looked up in lower case.

        :param asked: the headers ``Range`` and, if there is an ETag, ``If-Match``.
        """
        answer = self._direct.range(key, asked)
        if answer is not None:
            return answer, answer.status, answer.headers
        client, quick = self._connected()
        raw = quick.get(key, asked)
        if raw is not None:
            return SdkBody(raw, content_length(raw.headers)), raw.status, raw.headers
        parameters = {name.replace("-", ""): value for name, value in asked.items()}
        told = client.get_object(Bucket=self.settings.bucket, Key=key, **parameters)
        headers = _headers(told)
        if not compression(headers):
            quick.learn(key)
        status: int = told["ResponseMetadata"]["HTTPStatusCode"]
        return SdkBody(told["Body"]._raw_stream, content_length(headers)), status, headers

    def refuses_its_etag(self, state: ObjectState) -> bool:
        """Return whether the server refuses to send an object for the ETag that it gives to it, as was just seen.

        Then objects are read without: whether the bytes are right their digest says.
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
                    f"{self.settings.where} answers 412 to the ETag that it gives to {self.settings.url(state.key)}"
                    " itself, as proxies do that change ETags; objects are read without If-Match, and their digests are"
                    " verified as always"
                )
        return True

    def write(self, key: str, content: bytes, digest: str) -> None:
        """Write a small object as a whole, with its digest beside it.

        :raises NotS3Error: when something else has answered, and the object is not there.
        """
        which = {"Bucket": self.settings.bucket, "Key": key, "Metadata": digest_metadata(digest)}
        with translated(self.settings, f"write {self.settings.url(key)}"):
            answer = self.sender.send(self.client.put_object, content, **which)
        if not answer.get("ETag"):
            self.must_be_written(key, len(content))

    def must_be_written(self, key: str, size: int) -> None:
        """Make sure that an object was written, where the answer does not prove it.

        :raises NotS3Error: when it is not there, or has another size.
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
        """Remark it when the server has dropped the digest that was recorded with an object."""
        with contextlib.suppress(MirrorError):  # the right to read is another one than that to write
            state = self.state(key)
            if state is not None and state.digest != digest and not self.drops_metadata:
                self.drops_metadata = True
                self.remarks.append(
                    f"{self.settings.where} drops the metadata of objects: {self.settings.url(key)} was written with"
                    f" x-amz-meta-{DIGEST_METADATA}, and is there without; whether an object has to be sent again is"
                    " told by its ETag, where that is an MD5, and otherwise it is sent in every run"
                )

    def remove(self, key: str) -> None:
        """Remove an object. Whether it was there is not told by S3."""
        with translated(self.settings, f"remove {self.settings.url(key)}"):
            self.client.delete_object(Bucket=self.settings.bucket, Key=key)


def _headers(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the headers of an answer of the SDK, by their names in lower case."""
    headers: Mapping[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def _sender(headers: Mapping[str, str]) -> str:
    from ..._ollama.diagnosis import answered_by

    return answered_by(headers)
