# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Single files: download an object of the bucket to a file, or upload a file to an object of the bucket."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from dataclasses import dataclass
from typing import Optional

from ..._ollama.byte_counter import ByteCounter
from ..._ollama.digests import digest_of
from ..._ollama.safe_fs import Directory, DirectoryError, DiskFullError, Ownership, UnsafePathError, explained
from ..errors import MirrorError, ObjectMissingError, WrongDigestError
from ..s3 import etags
from ..s3.mirror import Mirror
from ..s3.objects import ObjectState
from ..state.claims import claimed
from ..state.lock import LockWait
from ..support.format import in_bytes
from ..transfer.blob_transfer import Transfer
from ..transfer.engine import Engine
from ..transfer.hashing import digest_of_file
from ..transfer.multipart_upload import part_sizes, upload
from ..transfer.partial_file import LONGEST_SUFFIX, PartialFile, held, journal_name, partial_name
from ..transfer.sources import ObjectSource

#: The longest name of a file in bytes, on nearly every file system.
_NAME_MAX = 255


class UnverifiableError(MirrorError):
    """No source says which digest an object should have."""

    code = "mirror_unverifiable"


@dataclass(frozen=True)
class FilePlan:
    """The change to one file or object.

    :param before: the digest of the present content, or ``None``.
    :param after: the digest of the wanted content.
    :param size: bytes of the wanted content.
    """

    before: Optional[str]
    after: str
    size: int

    @property
    def changed(self) -> bool:
        """Whether the plan changes anything."""
        return self.before != self.after


class Fetch:
    """The download of one object to a file."""

    def __init__(
        self,
        mirror: Mirror,
        key: str,
        path: str,
        digest: Optional[str],
        *,
        wait: Optional[LockWait] = None,
        counter: Optional[ByteCounter] = None,
    ) -> None:
        """
        :param digest: the expected digest of the content; by default, the digest recorded with the object.
        :param wait: the settings of the wait for another process that downloads the same file.
        :param counter: counts the bytes for the progress display.
        """
        self._wait = wait or LockWait()
        self._counter = counter or ByteCounter()
        self._mirror = mirror
        self._key = key
        self._path = path
        self._folder, self._name = os.path.split(os.path.abspath(path))
        self._digest = digest
        self._object: Optional[ObjectState] = None

    def plan(self) -> FilePlan:
        """Return the plan. With an expected digest, the mirror is asked only if the file has another digest.

        :raises ObjectMissingError: if the object does not exist.
        :raises UnverifiableError: if no source says which digest the object should have.
        :raises WrongDigestError: if the digest recorded with the object is not the expected one.
        :raises DiskFullError: if there is too little room.
        """
        with self._directory() as directory:
            self._must_be_replaceable(directory)
            present, size = _digest_in(directory, self._name)
            if self._digest and present == self._digest:
                return FilePlan(present, present, size)
            state = self._ask()
            wanted = self._digest or state.digest
            if wanted is None:
                raise UnverifiableError(
                    f"There is no expected digest for {self._mirror.settings.url(self._key)}",
                    remedy="Set checksum, or remove the object and put it there with state=published, which records"
                    " its digest",
                    key=self._key,
                )
            if state.digest not in (None, wanted):
                raise WrongDigestError(
                    f"{self._mirror.settings.url(self._key)} has the recorded digest {state.digest}, not {wanted}",
                    remedy="Correct checksum or key, or publish the right file",
                    key=self._key,
                    digest=wanted,
                    found=state.digest,
                )
            if present != wanted:
                directory.must_be_writable()
                self._need_room(directory, state.size, wanted)
            return FilePlan(present, wanted, state.size)

    def apply(self, plan: FilePlan, ownership: Ownership) -> int:
        """Download the object; return the number of bytes from the network.

        :raises StoreBusyError: if another process downloads the same file for longer than this process waits.
        """
        with self._directory() as directory:
            stem = self._stem(directory, plan.after)
            deadline = time.monotonic() + self._wait.within
            with claimed(directory, stem, ownership, self._wait.on_wait, deadline=deadline):
                if _digest_in(directory, self._name)[0] == plan.after:
                    return 0  # another process has downloaded it meanwhile
                target = PartialFile(directory, stem, plan.size, ownership, directory, self._name)
                source = ObjectSource(self._mirror, self._ask())
                transfer = Transfer(plan.after, plan.size, source, target)
                self._counter.expect(self._key, plan.size, kept=held(directory, stem))
                Engine(on_bytes=lambda _transfer, count: self._counter.add(count)).run([transfer])
                directory.sync()
                if not transfer.error:
                    _remove_older(directory, stem, ownership)
        if isinstance(transfer.error, WrongDigestError):
            source.name_damage(transfer.error, checksum_given=self._digest is not None)
        if transfer.error:
            raise transfer.error
        return transfer.received

    def _directory(self) -> Directory:
        directory = Directory.open(self._folder)
        if directory is None:
            raise DirectoryError(
                f"The directory {self._folder} does not exist", remedy="Create it first", path=self._folder
            )
        return directory

    def _must_be_replaceable(self, directory: Directory) -> None:
        """Make sure that the path can name a regular file.

        :raises UnsafePathError: if the path names a directory or a special file.
        """
        state = directory.stat(self._name) if self._name else os.fstat(directory.descriptor)
        if stat.S_ISDIR(state.st_mode if state else 0) or self._path.endswith("/"):
            place = os.path.join(self._folder, self._name)
            raise UnsafePathError(
                f"{place} is a directory, and path must name the file",
                remedy=f"Set path to {os.path.join(place, os.path.basename(self._key) or 'FILE')}",
                path=self._path,
            )
        if state and not (stat.S_ISREG(state.st_mode) or stat.S_ISLNK(state.st_mode)):
            raise UnsafePathError(
                f"{directory.join(self._name)} is not a regular file, and will not be replaced",
                remedy="Correct path, or remove the existing file or directory",
                path=self._path,
            )

    def _stem(self, directory: Directory, digest: str) -> str:
        """Return the beginning of the names of the partial file and its journal, short enough for their endings."""
        stem = f".{self._name}.{digest.split(':')[1][:16]}"
        longest = _NAME_MAX
        with contextlib.suppress(OSError):  # a directory that may not be read does not report its limit
            longest = os.fpathconf(directory.descriptor, "PC_NAME_MAX")
        if len(os.fsencode(stem)) + LONGEST_SUFFIX <= longest:
            return stem
        return f".{digest_of(os.fsencode(self._name)).split(':')[1][:16]}.{digest.split(':')[1][:16]}"

    def _ask(self) -> ObjectState:
        if self._object is None:
            self._object = self._mirror.find(self._key)
        if self._object is None:
            raise ObjectMissingError(
                f"{self._mirror.settings.url(self._key)} does not exist",
                remedy="Check bucket and key, or put the object there with state=published",
                key=self._key,
            )
        return self._object

    def _need_room(self, directory: Directory, size: int, digest: str) -> None:
        needed = max(0, size - held(directory, self._stem(directory, digest)))
        with explained("ask for the free space", self._folder):
            disk = os.fstatvfs(directory.descriptor)
        free = disk.f_bavail * disk.f_frsize
        if disk.f_blocks and needed > free:
            raise DiskFullError(
                f"{self._mirror.settings.url(self._key)} needs {in_bytes(needed)} at {self._folder}, "
                f"and {in_bytes(free)} are free",
                remedy="Free some space, or choose another path",
                path=self._folder,
                bytes_needed=needed,
                bytes_free=free,
            )


class Deposit:
    """The upload of one file to an object."""

    def __init__(
        self, mirror: Mirror, key: str, path: str, digest: Optional[str], *, counter: Optional[ByteCounter] = None
    ) -> None:
        """
        :param digest: the expected digest of the file; ``None`` for any.
        :param counter: counts the bytes for the progress display.
        """
        self._counter = counter or ByteCounter()
        self._mirror = mirror
        self._key = key
        self._path = os.path.abspath(path)
        self._digest = digest

    def plan(self) -> FilePlan:
        """Return the plan.

        :raises WrongDigestError: if the file does not have the expected digest.
        """
        descriptor, size = self._open()
        try:
            with explained("read", self._path):
                found = digest_of_file(descriptor)
        finally:
            os.close(descriptor)
        if self._digest not in (None, found):
            raise WrongDigestError(
                f"{self._path} has the digest {found}, not {self._digest}",
                remedy="Correct checksum, or get the file again",
                path=self._path,
                digest=self._digest,
                found=found,
            )
        state = self._mirror.find(self._key)
        if state is None:
            return FilePlan(None, found, size)
        if state.size != size:
            return FilePlan("unknown", found, size)
        # An object without a useful digest or ETag is written again: only a read of the whole object would show more.
        before = state.digest or (found if self._has_etag_of(state.etag, found) else "unknown")
        return FilePlan(before, found, size)

    def _has_etag_of(self, etag: str, digest: str) -> bool:
        descriptor, size = self._open()
        try:
            with explained("read", self._path):
                return etags.is_of_file(etag, descriptor, size, digest, part_sizes(size))
        finally:
            os.close(descriptor)

    def apply(self, plan: FilePlan) -> int:
        """Send the file; return the number of bytes sent."""
        descriptor, size = self._open()
        try:
            self._counter.expect(self._key, size)
            upload(self._mirror, self._key, descriptor, size, plan.after, self._path, on_bytes=self._counter.add)
        except WrongDigestError as error:  # plan() has found the right digest
            error.remedy = "The file changed during the upload; run again when no process writes to it"
            raise
        finally:
            os.close(descriptor)
        self._mirror.look_at_written(self._key, plan.after)
        return size

    def _open(self) -> tuple[int, int]:
        with explained("read", self._path):
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(descriptor)
            raise DirectoryError(f"{self._path} is not a regular file", remedy="Correct path", path=self._path)
        return descriptor, state.st_size


def _remove_older(directory: Directory, stem: str, ownership: Ownership) -> None:
    """Remove partial files of other content for the same path, unless a process is downloading it."""
    pattern = re.compile(re.escape(stem.rpartition(".")[0]) + r"\.[0-9a-f]{16}")
    parts = (name.rpartition(".") for name in directory.names())
    others = {other for other, _dot, kind in parts if kind in ("partial", "journal") and pattern.fullmatch(other)}
    for other in others - {stem}:
        # The download has succeeded. A file stays if a process uses it, or if it cannot be removed.
        with contextlib.suppress(DirectoryError):
            with claimed(directory, other, ownership, lambda _message: None, deadline=time.monotonic()):
                directory.remove(partial_name(other))
                directory.remove(journal_name(other))


def _digest_in(directory: Directory, name: str) -> tuple[Optional[str], int]:
    """Return digest and size of a file; ``None`` and 0 if there is none."""
    state = directory.stat(name)
    if state is None or not stat.S_ISREG(state.st_mode):
        return None, 0
    descriptor = directory.open_file(name)
    if descriptor is None:
        return None, 0
    try:
        with explained("read", directory.join(name)):
            return digest_of_file(descriptor), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
