# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A store: the models directory of an Ollama, with ``blobs/`` and ``manifests/``.

The layout is that of Ollama v0.33: blobs are in ``blobs/sha256-<hex>``, manifests in
``manifests/<host>/<namespace>/<model>/<tag>``. Ollama treats every file at exactly that depth of ``manifests`` as a
manifest. When it starts, it removes every file in ``blobs`` that no manifest names. Work in progress is therefore in a
separate directory beside them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Optional, Union

from .digests import blob_file_name
from .errors import CollectionError, InvalidNameError
from .manifests import MAX_MANIFEST_SIZE
from .names import ModelName
from .references import References
from .safe_fs import Directory, DirectoryError, NotPermittedError, Ownership, UnsafePathError, explained, persist, sync

BLOBS = "blobs"
MANIFESTS = "manifests"

#: Directory for an importer's lock, records, partial files and journals. It is in the models directory, or in the blobs
#: directory if that is a separate file system. Ollama's pruning keeps directories that are not empty.
WORKSPACE = ".legionio-ollama"

#: Prefix of the name of a file that is renamed as soon as it is written. No model name begins like that.
TEMPORARY = ".legionio-ollama-"

#: The empty file that shows whether files of the workspace can be renamed into the blobs directory.
_TRIAL = f"{TEMPORARY}trial"


@dataclass(frozen=True)
class StoreSettings:
    """The path of a store, and the owner, group and mode of new files.

    ``None`` takes the value of the models directory, or of its nearest existing parent.
    """

    path: str
    owner: Optional[str] = None
    group: Optional[str] = None
    mode: Union[str, int, None] = None


class Store:
    """A models directory that may not exist yet. Nothing is created before :meth:`prepare`.

    This class is long because it has all access to the files of a store, so that no other class knows their paths.
    """

    def __init__(self, settings: StoreSettings) -> None:
        """Open the directory if it exists.

        :raises OwnershipError: for an unknown owner or group, or an invalid mode.
        :raises DirectoryError: if the directory cannot be reached, or a part of it is on a disk that is not mounted.
        """
        self.settings = settings
        self.path = os.path.abspath(settings.path)
        state, self.nearest = Directory.nearest(self.path)
        self.asked_ownership = Ownership.asked(settings.owner, settings.group, settings.mode)
        self.ownership = Ownership.like(state, self.asked_ownership)
        self._root = Directory.open(self.path)
        self._blobs = _found(self._root, BLOBS) if self._root else None
        self._manifests = _found(self._root, MANIFESTS) if self._root else None
        self._workspace: Optional[Directory] = None
        self._partials: Optional[Directory] = None
        #: The reason why the directory cannot be read; else empty.
        self.obstacle = ""

    @classmethod
    def out_of_reach(cls, settings: StoreSettings, obstacle: str) -> Store:
        """Return a store for a directory that cannot be read. It appears empty, and nothing can be created in it."""
        store = cls(StoreSettings("/"))
        store.close()
        store.settings = settings
        store.path = os.path.abspath(settings.path)
        store._root = store._blobs = store._manifests = None
        store.obstacle = obstacle
        return store

    @property
    def where(self) -> str:
        """The models directory, for messages."""
        return self.path

    @property
    def exists(self) -> bool:
        """Whether the models directory has its ``blobs/``, which Ollama creates when it starts."""
        return self._blobs is not None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directories."""
        for directory in (self._partials, self._workspace, self._manifests, self._blobs, self._root):
            if directory:
                directory.close()

    def prepare(self) -> None:
        """Create the models directory, ``blobs/`` and ``manifests/`` if they are missing."""
        if self._root is None:
            self._root = Directory.make(self.path, self.ownership)
        if self._blobs is None:
            self._blobs = self._root.child(BLOBS, self.ownership)
        if self._manifests is None:
            self._manifests = self._root.child(MANIFESTS, self.ownership)

    @property
    def root(self) -> Directory:
        """The models directory, which must exist."""
        return _existing(self._root, self.path)

    @property
    def blobs(self) -> Directory:
        """The directory of the blobs, which must exist."""
        return _existing(self._blobs, os.path.join(self.path, BLOBS))

    def sync_blobs(self) -> None:
        """Sync the names of all renamed blobs to the disk."""
        if self._blobs is not None:
            self._blobs.sync()

    @property
    def workspace(self) -> Directory:
        """The directory for work in progress; the first access creates it."""
        if self._workspace is None:
            self._workspace = self.root.child(WORKSPACE, self.ownership)
        return self._workspace

    def find_workspace(self) -> Optional[Directory]:
        """Return the directory for work in progress if it exists."""
        if self._workspace is None and self._root is not None:
            self._workspace = self._root.find(WORKSPACE)
        return self._workspace

    @property
    def partials(self) -> Directory:
        """The directory for partial files. Its files can be renamed into :attr:`blobs`."""
        if self._partials is None:
            near = self.workspace.can_move_to(self.blobs, _TRIAL)
            self._partials = self.workspace if near else self.blobs.child(WORKSPACE, self.ownership)
        return self._partials

    def find_partials(self) -> Optional[Directory]:
        """Return the directory for partial files if it exists."""
        if self._partials is None and self._blobs:
            # Only a trial shows whether files can be moved between two mounts of one file system (``partials``).
            self._partials = self._blobs.find(WORKSPACE)
        if self._partials is None and self._blobs and self._blobs.device != self.root.device:
            return None
        return self._partials or self.find_workspace()

    def remove_temporary(self) -> None:
        """Remove the temporary files that killed processes left. The caller holds the lock of the store.

        A process without the lock may be about to rename its file, and then has to write the file again.
        """
        for directory in dict.fromkeys(filter(None, (self.find_workspace(), self.find_partials(), self._blobs))):
            for name in directory.names():
                if name.startswith(TEMPORARY):
                    with contextlib.suppress(DirectoryError):  # a failed removal is harmless
                        directory.remove(name)

    def room(self) -> tuple[str, Optional[int]]:
        """Return the path for blobs and its free bytes; ``None`` if they are unknown."""
        if self.obstacle:
            return self.path, None
        place = self._blobs.path if self._blobs else self.nearest
        with explained("read the free space", place):
            disk = os.fstatvfs(self._blobs.descriptor) if self._blobs else os.statvfs(place)
        return place, disk.f_bavail * disk.f_frsize if disk.f_blocks else None

    def must_be_writable(self) -> None:
        """Check the permissions to write blobs and manifests.

        :raises NotPermittedError: with the path of a directory that is not writable.
        """
        parts = [self._blobs, self._manifests, self.find_workspace()]
        if self._root is None:
            with Directory.deepest(self.path) as above:
                above.must_be_writable(self.path)
        elif not all(parts):
            self._root.must_be_writable()
        for part in filter(None, parts):
            part.must_be_writable()

    # Blobs

    def blob_path(self, digest: str) -> str:
        """Return the path of a blob, for messages."""
        return os.path.join(self.path, BLOBS, blob_file_name(digest))

    def blob_state(self, digest: str) -> Optional[os.stat_result]:
        """Return the state of a blob's file; ``None`` if it does not exist.

        The state may be that of a link or directory, which the caller can replace.
        """
        return self._blobs.stat(blob_file_name(digest)) if self._blobs else None

    def open_blob(self, digest: str) -> Optional[int]:
        """Open a blob for reading; return its descriptor, or ``None`` if it does not exist.

        :raises UnsafePathError: if it is not a regular file.
        """
        return self._blobs.open_file(blob_file_name(digest)) if self._blobs else None

    def sync_blob(self, digest: str, *, touch: bool = False) -> bool:
        """Sync the content of a blob to the disk; return whether there is such a blob, and this process may read it.

        :param touch: also set the time of the blob to the current time, if this process may do so.
        """
        try:
            descriptor = self.open_blob(digest)
        except (NotPermittedError, UnsafePathError):
            return False
        if descriptor is None:
            return False
        try:
            if touch:
                with contextlib.suppress(OSError):
                    os.utime(descriptor)
            sync(descriptor, self.blob_path(digest))
        finally:
            os.close(descriptor)
        return True

    def remove_blob(self, digest: str) -> bool:
        """Remove a blob; return whether it existed."""
        return self._blobs.remove(blob_file_name(digest)) if self._blobs else False

    # Manifests

    def manifest_path(self, name: ModelName) -> str:
        """Return the path of a manifest, for messages."""
        return os.path.join(self.path, MANIFESTS, *name.manifest_parts)

    def manifest(self, name: ModelName) -> Optional[bytes]:
        """Return the bytes of a manifest, unchecked; ``None`` if it does not exist.

        For a file that is too large for a manifest, return only the beginning, which no parser accepts.
        """
        *parents, tag = name.manifest_parts
        directory = self._descend(parents)
        if directory is None:
            return None
        with directory:
            return directory.read(tag, MAX_MANIFEST_SIZE + 1)

    def manifest_state(self, name: ModelName) -> Optional[os.stat_result]:
        """Return the state of a manifest's file; ``None`` if it does not exist."""
        *parents, tag = name.manifest_parts
        directory = self._descend(parents)
        if directory is None:
            return None
        with directory:
            return directory.stat(tag)

    def set_manifest_access(self, name: ModelName, ownership: Ownership) -> bool:
        """Set owner, group and mode of a manifest's file; return whether any of them changed."""
        *parents, tag = name.manifest_parts
        directory = self._descend(parents)
        if directory is None:
            return False
        with directory:
            return directory.set_access(tag, ownership)

    def names(self) -> list[ModelName]:
        """Return the names of all manifests, including invalid ones."""
        return [entry for entry in self._entries() if isinstance(entry, ModelName)]

    def write_manifest(self, name: ModelName, raw: bytes) -> None:
        """Write a manifest atomically."""
        *parents, tag = name.manifest_parts

        def write() -> None:
            directory = self._manifests_root()
            for part in parents:
                with directory:
                    directory = directory.child(part, self.ownership)
            with directory:
                self._put(raw, directory, tag)

        persist(write)  # Ollama's pruning may remove the directory, which is empty until the rename

    def _put(self, raw: bytes, directory: Directory, tag: str) -> None:
        """Write a temporary file on the same file system, and rename it."""
        # A random name, because processes on two hosts that share the store may have the same number.
        temporary = f"{TEMPORARY}{secrets.token_hex(8)}"
        for place in (self.workspace, directory):
            try:
                place.write(temporary, raw, self.ownership)
                place.move(temporary, directory, tag)
                return
            except DirectoryError as error:
                with contextlib.suppress(DirectoryError):
                    place.remove(temporary)
                # The directory of a registry or model may be a mount point, or a link to another disk.
                if place is directory or getattr(error.__cause__, "errno", None) != errno.EXDEV:
                    raise

    def remove_manifest(self, name: ModelName) -> bool:
        """Remove a manifest and the directories that become empty; return whether the manifest existed."""
        *parents, tag = name.manifest_parts
        directory = self._descend(parents)
        if directory is None:
            return False
        with directory:
            removed = directory.remove(tag)
            if removed:
                directory.sync()
        while removed and parents:
            last = parents.pop()
            above = self._descend(parents)
            if above is None:
                break
            with above:
                if not above.remove_directory(last):
                    break
        return removed

    def unseen(self) -> list[str]:
        """Return complete messages, each a reason why :meth:`names` may lack manifests."""
        return [str(entry) for entry in self._entries() if not isinstance(entry, ModelName)]

    def references(self, *, without: Collection[ModelName] = ()) -> References:
        """Return the models that name each blob.

        :param without: models to ignore.
        """
        found = References()
        for entry in self._entries():
            if isinstance(entry, ModelName):
                found.names.add(entry)
                if entry not in without:
                    found.add(entry, partial(self.manifest, entry), self.manifest_path(entry))
            else:
                found.doubts.append(str(entry))
        return found

    def _manifests_root(self) -> Directory:
        # Create it again: Ollama's pruning removes even this directory if it is empty.
        found = self.root.child(MANIFESTS, self.ownership)
        if self._manifests:
            self._manifests.close()
        self._manifests = found
        return Directory(os.dup(found.descriptor), found.path)

    def _descend(self, parts: list[str]) -> Optional[Directory]:
        if self._manifests is None:
            return None
        directory = Directory(os.dup(self._manifests.descriptor), self._manifests.path)
        for part in parts:
            with directory:
                below = _found(directory, part)
            if below is None:
                return None
            directory = below
        return directory

    def _entries(self) -> Iterator[Union[ModelName, CollectionError]]:
        """Yield the name of each manifest, and an error for each entry that may hide manifests."""
        root = self._descend([])
        if root is not None:
            with root:
                yield from _entries_below(root, [])


def _entries_below(directory: Directory, parts: list[str]) -> Iterator[Union[ModelName, CollectionError]]:
    try:
        entries = directory.names()
    except DirectoryError as error:
        yield error
        return
    for entry in entries:
        if entry.startswith(TEMPORARY):
            continue
        try:
            if len(parts) == 3:
                state = directory.stat(entry)
                # A dangling link may be a manifest on a disk that is not mounted.
                if state is None and directory.has(entry):
                    yield _dangling(directory.join(entry))
                elif state is not None and not stat.S_ISDIR(state.st_mode):
                    yield _name([*parts, entry]) or _stranger(directory.join(entry))
                continue
            below = _below(directory, entry)
        except DirectoryError as error:
            yield error
            continue
        if below is not None:
            with below:
                yield from _entries_below(below, [*parts, entry])


def _below(directory: Directory, entry: str) -> Optional[Directory]:
    """Open a directory among the manifests; return ``None`` for anything but a directory.

    :raises DirectoryError: for a directory, or a link to a directory, that cannot be opened; Ollama follows such links.
    """
    state = directory.stat(entry)
    if state is None:
        if directory.has(entry):
            raise _dangling(directory.join(entry))
        return None
    return directory.find(entry) if stat.S_ISDIR(state.st_mode) or stat.S_ISLNK(state.st_mode) else None


def _found(directory: Directory, name: str) -> Optional[Directory]:
    """Open a subdirectory; return ``None`` if it does not exist.

    :raises DirectoryError: for a dangling link, which is not an empty directory: its target may be on a disk that is
        not mounted.
    """
    found = directory.find(name)
    if found is None and directory.has(name):
        raise _dangling(directory.join(name))
    return found


def _dangling(path: str) -> DirectoryError:
    return DirectoryError(
        f"{path} is a symbolic link whose target does not exist",
        remedy="Mount the file system of the link's target, or remove the link",
        path=path,
    )


def _stranger(path: str) -> DirectoryError:
    return DirectoryError(
        f"{path} cannot be read as a manifest, because its path is not a model name",
        remedy="Remove the file if it is not a manifest",
        path=path,
    )


def _name(parts: list[str]) -> Optional[ModelName]:
    try:
        return ModelName(*parts)
    except InvalidNameError:
        return None


def _existing(directory: Optional[Directory], path: str) -> Directory:
    if directory is None:
        raise DirectoryError(f"{path} does not exist", remedy="Check models_path", path=path)
    return directory
