# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Inspection of the blobs of a store: which blobs are present and intact, with as few reads as possible."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Sequence
from typing import Optional

from ..._ollama.manifests import Layer
from ..._ollama.safe_fs import DirectoryError, explained
from ..._ollama.store import Store
from ..state.verification_records import VerificationRecords
from ..support.parallel import each
from ..transfer.hashing import digest_of_file

#: The number of blobs that are hashed at the same time. With more, the disk is the limit.
HASHERS = 4

#: The result of a look at a file's state if only its content can show whether the blob is intact.
_UNKNOWN = "its content is not known"


class BlobInspector:
    """Inspects the blobs of one store, and records the verified ones. Safe for use by several threads.

    A problem is a text with the reason to replace a blob, empty if the blob is missing. ``None`` means an intact blob.
    """

    def __init__(self, store: Store, records: VerificationRecords) -> None:
        self._store = store
        self._records = records
        self._distrusted: set[str] = set()
        self._lock = threading.Lock()

    def problems(self, blobs: Sequence[Layer]) -> list[Optional[str]]:
        """Return the problem of each blob, in the order of the blobs."""
        # Most blobs need only a look at the state of their file. A thousand of these looks are not worth a thread.
        found = [self._glance(blob) for blob in blobs]
        unknown = [number for number, problem in enumerate(found) if problem is _UNKNOWN]
        for number, problem in zip(unknown, each(self._hash, [blobs[number] for number in unknown], HASHERS)):
            found[number] = problem
        return found

    def problem(self, blob: Layer) -> Optional[str]:
        """Return the problem of one blob.

        :raises NotPermittedError: if this process may not read the blob.
        """
        found = self._glance(blob)
        return self._hash(blob) if found is _UNKNOWN else found

    def _glance(self, blob: Layer) -> Optional[str]:
        """Return the problem of a blob by the state of its file; ``_UNKNOWN`` if only the content can show it."""
        state = self._store.blob_state(blob.digest)
        if state is None:
            return ""
        if not stat.S_ISREG(state.st_mode):
            return "it is not a regular file"
        if state.st_size != blob.size:
            return f"it has {state.st_size} bytes instead of {blob.size}"
        return None if self._records.knows(blob.digest, state) else _UNKNOWN

    def _hash(self, blob: Layer) -> Optional[str]:
        """Return the problem of a blob's content."""
        descriptor = self._store.open_blob(blob.digest)
        if descriptor is None:
            return ""
        try:
            # Take the state before hashing: a change during the hashing must not count as verified.
            state = os.fstat(descriptor)
            with explained("read", self._store.blob_path(blob.digest)):
                found = digest_of_file(descriptor)
        finally:
            os.close(descriptor)
        if found != blob.digest:
            return f"its content has the digest {found}"
        with self._lock:
            self._records.note(blob.digest, state)
        return None

    def distrust(self, digest: str) -> None:
        """Make :meth:`note` ignore a blob from another process: only hashing shows whether it is intact."""
        with self._lock:
            self._distrusted.add(digest)

    def note(self, digest: str) -> None:
        """Record that a blob with the current state of its file is intact."""
        state = self._store.blob_state(digest)
        with self._lock:
            if state and digest not in self._distrusted:
                self._records.note(digest, state)

    def remember(self) -> None:
        """Save the records of verified blobs, so that the next run need not hash them. Skip a read-only store."""
        if self._records.outdated:
            with contextlib.suppress(DirectoryError):
                self._records.save(self._store.workspace, self._store.blobs.names(), self._store.ownership)
