# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A store: the models directory of an Ollama, with ``blobs/`` and ``manifests/``.

Layout and habits are those of Ollama v0.33: blobs lie in ``blobs/sha256-<hex>``, manifests in
``manifests/<host>/<namespace>/<model>/<tag>``. Ollama takes every file at exactly that depth of ``manifests`` for a
manifest, and removes from ``blobs``, when it starts, every file that no manifest names. Work in progress therefore lies
in neither, but in a directory of its own beside them.
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
from .safe_fs import Directory, DirectoryError, Ownership, explained

BLOBS = "blobs"
MANIFESTS = "manifests"

#: Where the lock and the records of an importer lie, and partial files with their journals: in the models directory, or
#: in that of the blobs where it is a file system of its own. Ollama's pruning leaves a directory that holds something.
WORKSPACE = ".legionio-ollama"

#: What the name of a manifest that is being written begins with. It is no model's name.
TEMPORARY = ".legionio-ollama-"

#: How often a manifest is written when Ollama's pruning removes its directory, empty as it still is, before the rename.
_ATTEMPTS = 5


@dataclass(frozen=True)
class StoreSettings:
    """Where a store is, and to whom belongs what is created in it.

    ``None`` means as the models directory, or its nearest parent that exists, has it.
    """

    path: str
    owner: Optional[str] = None
    group: Optional[str] = None
    mode: Union[str, int, None] = None


class Store:
    """A models directory that may not exist yet. Nothing is created before :meth:`prepare`."""

    def __init__(self, settings: StoreSettings) -> None:
        """Look at the directory.

        :raises OwnershipError: for an owner, group or mode that cannot be.
        :raises DirectoryError: when the directory cannot be reached.
        """
        self.settings = settings
        self.path = os.path.abspath(settings.path)
        state, self.nearest = Directory.nearest(self.path)
        self.asked_ownership = Ownership.asked(settings.owner, settings.group, settings.mode)
        self.ownership = Ownership.like(state, self.asked_ownership)
        self._root = Directory.open(self.path)
        self._blobs = self._root.find(BLOBS) if self._root else None
        self._manifests = self._root.find(MANIFESTS) if self._root else None
        self._workspace: Optional[Directory] = None
        self._partials: Optional[Directory] = None
        #: Why the directory cannot be looked into, if so.
        self.obstacle = ""

    @classmethod
    def out_of_reach(cls, settings: StoreSettings, obstacle: str) -> Store:
        """Return a store that cannot be looked into, as one in which nothing is; nothing can be created either."""
        store = cls(StoreSettings("/"))
        store.close()
        store.settings = settings
        store.path = os.path.abspath(settings.path)
        store._root = store._blobs = store._manifests = None
        store.obstacle = obstacle
        return store

    @property
    def where(self) -> str:
        """The models directory, as messages call it."""
        return self.path

    @property
    def exists(self) -> bool:
        """Whether there is a models directory. An Ollama makes the directory of its blobs when it starts."""
        return self._blobs is not None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directories."""
        for directory in (self._partials, self._workspace, self._manifests, self._blobs, self._root):
            if directory:
                directory.close()

    def prepare(self) -> None:
        """Create what is missing: the models directory and its three parts."""
        if self._root is None:
            self._root = Directory.make(self.path, self.ownership)
        if self._blobs is None:
            self._blobs = self._root.child(BLOBS, self.ownership)
        if self._manifests is None:
            self._manifests = self._root.child(MANIFESTS, self.ownership)

    @property
    def root(self) -> Directory:
        """The models directory, once it exists."""
        return _existing(self._root, self.path)

    @property
    def blobs(self) -> Directory:
        """The directory of the blobs, once it exists."""
        return _existing(self._blobs, os.path.join(self.path, BLOBS))

    def sync_blobs(self) -> None:
        """Make sure that the disk knows the names of all blobs that were put in place through this store."""
        if self._blobs is not None:
            self._blobs.sync()

    @property
    def workspace(self) -> Directory:
        """The directory for work in progress; it is created when it is first asked for."""
        if self._workspace is None:
            self._workspace = self.root.child(WORKSPACE, self.ownership)
        return self._workspace

    def find_workspace(self) -> Optional[Directory]:
        """Return the directory for work in progress if there is one."""
        if self._workspace is None and self._root is not None:
            self._workspace = self._root.find(WORKSPACE)
        return self._workspace

    @property
    def partials(self) -> Directory:
        """The directory for blobs that are being received; a file of it can be renamed into :attr:`blobs`."""
        if self._partials is None:
            near = self.workspace.can_move_to(self.blobs)
            self._partials = self.workspace if near else self.blobs.child(WORKSPACE, self.ownership)
        return self._partials

    def find_partials(self) -> Optional[Directory]:
        """Return the directory for blobs that are being received if there is one."""
        if self._partials is None and self._blobs and self._blobs.device != self.root.device:
            self._partials = self._blobs.find(WORKSPACE)
            return self._partials
        return self._partials or self.find_workspace()

    def room(self) -> tuple[str, Optional[int]]:
        """Return where blobs go, and how many bytes are free there; ``None`` where the file system does not say it."""
        place = self._blobs.path if self._blobs else self.nearest
        with explained("ask for the free space", place):
            disk = os.fstatvfs(self._blobs.descriptor) if self._blobs else os.statvfs(place)
        return place, disk.f_bavail * disk.f_frsize if disk.f_blocks else None

    def must_be_writable(self) -> None:
        """Make sure that blobs and manifests can be put into place, as far as that can be seen.

        :raises NotPermittedError: naming the directory that cannot be written to.
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
        """Return where a blob lies, for messages."""
        return os.path.join(self.path, BLOBS, blob_file_name(digest))

    def blob_state(self, digest: str) -> Optional[os.stat_result]:
        """Return the state of a blob's file; ``None`` when there is none.

        What is not a regular file is returned as it is, so that it can be replaced.
        """
        return self._blobs.stat(blob_file_name(digest)) if self._blobs else None

    def open_blob(self, digest: str) -> Optional[int]:
        """Open a blob for reading; return its descriptor, or ``None`` when there is none.

        :raises UnsafePathError: when it is not a regular file.
        """
        return self._blobs.open_file(blob_file_name(digest)) if self._blobs else None

    def remove_blob(self, digest: str) -> bool:
        """Remove a blob; return whether it was there."""
        return self._blobs.remove(blob_file_name(digest)) if self._blobs else False

    # Manifests

    def manifest_path(self, name: ModelName) -> str:
        """Return where a manifest lies, for messages."""
        return os.path.join(self.path, MANIFESTS, *name.manifest_parts)

    def manifest(self, name: ModelName) -> Optional[bytes]:
        """Return the bytes of a manifest, sound or not; ``None`` when there is none.

        Of a file larger than a manifest can be, the beginning is returned, which no reader accepts.
        """
        *parents, tag = name.manifest_parts
        directory = self._descend(parents)
        if directory is None:
            return None
        with directory:
            return directory.read(tag, MAX_MANIFEST_SIZE + 1)

    def manifest_state(self, name: ModelName) -> Optional[os.stat_result]:
        """Return the state of a manifest's file; ``None`` when there is none."""
        *parents, tag = name.manifest_parts
        directory = self._descend(parents)
        if directory is None:
            return None
        with directory:
            return directory.stat(tag)

    def set_manifest_access(self, name: ModelName, ownership: Ownership) -> None:
        """Give a manifest's file another owner or mode."""
        *parents, tag = name.manifest_parts
        directory = self._descend(parents)
        if directory is not None:
            with directory:
                directory.set_access(tag, ownership)

    def names(self) -> list[ModelName]:
        """Return the names of all manifests, sound or not."""
        return [entry for entry in self._entries() if isinstance(entry, ModelName)]

    def write_manifest(self, name: ModelName, raw: bytes) -> None:
        """Put a manifest in place, whole or not at all."""
        *parents, tag = name.manifest_parts
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                directory = self._manifests_root()
                for part in parents:
                    with directory:
                        directory = directory.child(part, self.ownership)
                with directory:
                    self._put(raw, directory, tag)
                return
            except DirectoryError as error:
                if attempt == _ATTEMPTS or not isinstance(error.__cause__, FileNotFoundError):
                    raise

    def _put(self, raw: bytes, directory: Directory, tag: str) -> None:
        """Write a manifest into its directory, by way of one on the same file system."""
        # Another host may share the store, and have a process of the same number.
        temporary = f"{TEMPORARY}{secrets.token_hex(8)}"
        for place in (self.workspace, directory):
            try:
                place.write(temporary, raw, self.ownership)
                place.move(temporary, directory, tag)
                return
            except DirectoryError as error:
                with contextlib.suppress(DirectoryError):
                    place.remove(temporary)
                # Registries and models may be mount points of their own, or links to another disk.
                if place is directory or getattr(error.__cause__, "errno", None) != errno.EXDEV:
                    raise

    def remove_manifest(self, name: ModelName) -> bool:
        """Remove a manifest, and the directories that are empty without it; return whether it was there."""
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
        """Return why there may be manifests that :meth:`names` lacks; each a whole message."""
        return [str(entry) for entry in self._entries() if not isinstance(entry, ModelName)]

    def references(self, *, without: Collection[ModelName] = ()) -> References:
        """Return which models name which blobs.

        :param without: models whose manifests do not count.
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
        # Ollama's pruning removes even this directory while it is empty.
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
                below = directory.find(part)
            if below is None:
                return None
            directory = below
        return directory

    def _entries(self) -> Iterator[Union[ModelName, CollectionError]]:
        """Yield what Ollama takes for manifests: names, and why there may be others that are not known."""
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
                # A link whose target is away may be a manifest on a disk that is not mounted.
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
    """Enter a directory among the manifests; return ``None`` for anything but a directory.

    :raises DirectoryError: for one that cannot be entered, a link to one included: Ollama follows it.
    """
    state = directory.stat(entry)
    if state is None:
        if directory.has(entry):
            raise _dangling(directory.join(entry))
        return None
    return directory.find(entry) if stat.S_ISDIR(state.st_mode) or stat.S_ISLNK(state.st_mode) else None


def _dangling(path: str) -> DirectoryError:
    return DirectoryError(
        f"{path} is a symbolic link to something that is not there",
        remedy="Mount the file system that it leads to, or remove the link",
        path=path,
    )


def _stranger(path: str) -> DirectoryError:
    return DirectoryError(
        f"{path} cannot be read as a manifest, since its name is that of no model",
        remedy="Remove it if it is no manifest",
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
