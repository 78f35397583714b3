# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The library: the shared blobs of the node, and the available pieces of each.

A blob is shared if the manifest of a shared model names it, or if a running import fetches it for a shared model. The
server sends no other file of the store, even if a client knows its digest.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ._mirror.peers.piece_marks import SharedMarks, read_marks
from ._mirror.transfer.partial_file import partial_name
from ._ollama.digests import blob_file_name
from ._ollama.errors import CollectionError
from ._ollama.manifests import Manifest
from ._ollama.names import ModelName
from ._ollama.patterns import NamePattern, matches_any
from ._ollama.store import Store, StoreSettings

#: Seconds until the library reads the manifests again; less for a blob that they do not name, which may be new.
FRESH = 5.0
FRESH_ENOUGH = 0.5


@dataclass
class SharedBlob:
    """A shared blob.

    :ivar descriptor: the descriptor of its file, which the caller must close.
    :ivar size: the bytes of the whole blob.
    :ivar marks: the available pieces; ``None`` for a complete blob.
    """

    descriptor: int
    size: int
    marks: Optional[SharedMarks] = None

    def has(self, start: int, stop: int) -> bool:
        """Return whether the bytes from ``start`` up to ``stop``, exclusive, are available."""
        return 0 <= start < stop <= self.size if self.marks is None else self.marks.has(start, stop)

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


class Library:
    """The shared blobs of one store. Several threads use it.

    :param models: patterns of the shared models.
    :raises InvalidNameError: for a pattern that no name can match.
    """

    def __init__(self, path: str, models: Sequence[str]) -> None:
        self._path = path
        self._models = tuple(models)
        for pattern in self._models:
            NamePattern.parse(pattern)
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._read_at = float("-inf")

    def find(self, digest: str) -> Optional[SharedBlob]:
        """Open and return a blob; ``None`` if it is missing or not shared.

        :raises CollectionError: if the store cannot be read.
        """
        name = blob_file_name(digest)
        with Store(StoreSettings(self._path)) as store:
            partials = store.find_partials()
            marks = read_marks(partials, name)
            if marks is not None and not self._is_shared(marks):
                marks = None
            size = marks.size if marks else self._size(store, digest)
            if size is None:
                return None
            # The import may complete and move the file at any moment.
            for _turn in range(2):
                descriptor = store.open_blob(digest)
                if descriptor is not None:
                    if os.fstat(descriptor).st_size == size:
                        return SharedBlob(descriptor, size)
                    os.close(descriptor)
                descriptor = partials.open_file(partial_name(name)) if partials and marks else None
                if descriptor is not None:
                    return SharedBlob(descriptor, size, marks)
        return None

    def _is_shared(self, marks: SharedMarks) -> bool:
        for text in marks.models:
            try:
                if matches_any(ModelName.parse(text), self._models):
                    return True
            except CollectionError:
                continue
        return False

    def _size(self, store: Store, digest: str) -> Optional[int]:
        """Return the size of a blob that a manifest of a shared model names; ``None`` if none does."""
        with self._lock:
            age = time.monotonic() - self._read_at
            if age >= FRESH or (digest not in self._sizes and age >= FRESH_ENOUGH):
                self._sizes = self._read(store)
                self._read_at = time.monotonic()
            return self._sizes.get(digest)

    def _read(self, store: Store) -> dict[str, int]:
        found: dict[str, int] = {}
        for name in store.names():
            if not matches_any(name, self._models):
                continue
            try:
                raw = store.manifest(name)
                manifest = Manifest.parse(raw) if raw is not None else None
            except CollectionError:  # a damaged manifest shares nothing
                continue
            for blob in manifest.blobs if manifest else ():
                found[blob.digest] = blob.size
        return found
