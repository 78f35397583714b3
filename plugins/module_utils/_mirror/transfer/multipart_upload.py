# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The upload engine: sends a file to the mirror in parts, several at the same time, and hashes every byte.

Only one thread at a time reads and hashes the next part; several threads send parts at the same time. The upload is
completed only if the whole file has the expected digest. Otherwise it is aborted, so the mirror never has an object
with damaged content.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from typing import Callable, Optional

from ..._ollama.errors import CollectionError
from ..._ollama.safe_fs import explained
from ..._ollama.text import printable
from ..errors import MirrorError, WrongDigestError
from ..s3.etags import md5_of_parts
from ..s3.mirror import Mirror
from ..s3.object_store import PartsUpload
from .bandwidth import Bandwidth

#: Bytes of a part, unless the object would have more parts than S3 allows (10,000, Amazon S3 quotas).
PART_SIZE = 16 * 1024 * 1024
MAX_PARTS = 10_000

#: Bytes of a part if the bandwidth is limited: the smallest size that S3 allows, because the limit acts between parts.
LIMITED_PART_SIZE = 5 * 1024 * 1024

#: Parts that are sent at the same time; each is held in memory.
CONCURRENCY = 3


def part_sizes(size: int) -> tuple[int, int]:
    """Return the bytes of a part without and with a limit of the bandwidth.

    :param size: bytes of the object.
    """
    least = -(-size // MAX_PARTS)
    return max(PART_SIZE, least), max(LIMITED_PART_SIZE, least)


def upload(
    mirror: Mirror,
    key: str,
    descriptor: int,
    size: int,
    digest: str,
    path: str,
    *,
    bandwidth: Optional[Bandwidth] = None,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> None:
    """Send an open file to the mirror, with its digest as metadata.

    :param size: bytes of the file.
    :param path: the path of the file, for messages.
    :param on_bytes: receives the number of bytes that were sent.
    :raises WrongDigestError: if the file has another digest. The mirror is unchanged.
    """
    bandwidth = bandwidth or Bandwidth(None)
    part_size = part_sizes(size)[bandwidth.limited]
    parts = _FileParts(descriptor, size, part_size, path)
    if size <= part_size:
        _number, content = parts.next() or (1, b"")
        parts.verify(digest)
        mirror.write(key, content, digest)
        time.sleep(bandwidth.spend(size))
        on_bytes(size)
        return
    sent = mirror.begin_upload(key, digest)
    try:
        etags = _send(sent, parts, bandwidth, on_bytes)
        parts.verify(digest)
    except BaseException as error:
        _abort(sent, error)
        raise
    _complete(mirror, sent, key, etags, size, digest)


def _abort(sent: PartsUpload, error: BaseException) -> None:
    """Abort a failed upload, so that the server removes its parts. If this fails, the remedy of the error says so."""
    try:
        sent.abort()
    except MirrorError as refused:
        if refused.details.get("s3_code") != "NoSuchUpload" and isinstance(error, CollectionError):
            error.remedy = (
                f"{error.remedy}. The parts that were sent stay in the bucket, and take space until the upload"
                f" {printable(sent.name)} is aborted ({refused.code}): give the key s3:AbortMultipartUpload, or"
                " the bucket a rule that ends unfinished uploads"
            )


def _complete(mirror: Mirror, sent: PartsUpload, key: str, etags: dict[int, str], size: int, digest: str) -> None:
    """Complete the object from its parts.

    The answer can be lost after the server has completed the object. The SDK then repeats the request, and gets the
    error that the upload does not exist. So an error counts only if the object is not there.
    """
    try:
        if not sent.complete(etags):
            mirror.must_be_written(key, size)
    except MirrorError as error:
        if not _is_there(mirror, key, size, digest, md5_of_parts(etags)):
            if error.details.get("s3_code") != "NoSuchUpload":
                _abort(sent, error)
            raise


def _is_there(mirror: Mirror, key: str, size: int, digest: str, etag: str) -> bool:
    with contextlib.suppress(MirrorError):
        state = mirror.state(key)
        if state is not None and state.size == size:
            return state.digest == digest or (state.digest is None and state.etag.strip('"').lower() == etag)
    return False


class _FileParts:
    """The parts of a file. Threads take them in order, which also hashes them."""

    def __init__(self, descriptor: int, size: int, part_size: int, path: str) -> None:
        self._descriptor = descriptor
        self._size = size
        self._part_size = part_size
        self._path = path
        self._lock = threading.Lock()
        self._seen = hashlib.sha256()
        self._offset = 0

    def next(self) -> Optional[tuple[int, bytes]]:
        """Return the number of the next part, from 1, and its content; ``None`` after the last part."""
        with self._lock, explained("read", self._path):
            if self._offset >= self._size:
                return None
            number = self._offset // self._part_size + 1
            wanted = min(self._part_size, self._size - self._offset)
            content = os.pread(self._descriptor, wanted, self._offset)
            if len(content) < wanted:  # the file became shorter; verify() will fail
                self._offset = self._size
            self._offset += len(content)
            self._seen.update(content)
            return number, content

    def verify(self, digest: str) -> None:
        found = f"sha256:{self._seen.hexdigest()}"
        if found != digest:
            raise WrongDigestError(
                f"{self._path} should have the digest {digest}, and has {found}",
                remedy="The file is damaged, and was not uploaded; pull or import the model again",
                digest=digest,
                found=found,
                path=self._path,
            )


def _send(
    sent: PartsUpload, parts: _FileParts, bandwidth: Bandwidth, on_bytes: Callable[[int], None]
) -> dict[int, str]:
    """Send all parts; return their ETags by number."""
    etags: dict[int, str] = {}
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while not errors:
                part = parts.next()
                if part is None:
                    return
                number, content = part
                etags[number] = sent.send(number, content)
                on_bytes(len(content))
                time.sleep(bandwidth.spend(len(content)))
        except BaseException as error:  # noqa: BLE001 - raised below, by the waiting thread
            errors.append(error)

    threads = [threading.Thread(target=work, name=f"upload-{number}", daemon=True) for number in range(CONCURRENCY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return etags
