# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The publication of lists of pieces, with which nodes can pass blobs to each other."""

from __future__ import annotations

import os

from ..._ollama.digests import digest_of
from ..._ollama.safe_fs import explained
from ..._ollama.store import Store
from ..errors import ObjectMissingError, WrongDigestError
from ..peers.piece_list import MAX_LIST, PieceHasher, PieceList, PieceListError, has_pieces
from ..s3.mirror import Mirror

#: Bytes of one read.
_BLOCK = 1024 * 1024


def lacks_pieces(mirror: Mirror, digest: str, size: int) -> bool:
    """Return whether the mirror lacks the list of a blob that is large enough for one, or has a damaged list."""
    if not has_pieces(size):
        return False
    key = mirror.layout.pieces_key(digest)
    state = mirror.state(key)
    if state is None:
        return True
    try:
        content = mirror.read(key, MAX_LIST)
        PieceList.parse(content, digest, size)
    except (ObjectMissingError, PieceListError):
        return True
    # Without a recorded digest, only a read of the whole blob could show whether the digests of the pieces are right.
    return state.digest is not None and state.digest != digest_of(content)


def publish_pieces(mirror: Mirror, store: Store, digest: str, size: int) -> bool:
    """Write the list of pieces of a blob of the store to the mirror; return whether it was written.

    :raises WrongDigestError: if the content of the blob has another digest.
    """
    hasher = PieceHasher(digest, size)
    descriptor = store.open_blob(digest)
    if descriptor is None:
        return False  # the blob was removed while its model was published; the next publication reports this
    with os.fdopen(descriptor, "rb", buffering=0) as file, explained("read", store.blob_path(digest)):
        view = memoryview(bytearray(_BLOCK))
        while True:
            count = file.readinto(view)
            if not count:
                break
            hasher.update(view[:count])
    found = hasher.whole
    if found != digest:
        raise WrongDigestError(
            f"The content of {store.blob_path(digest)} has the digest {found}",
            remedy="Pull or import the model again",
            digest=digest,
            found=found,
        )
    content = hasher.finish().encoded()
    mirror.write(mirror.layout.pieces_key(digest), content, digest_of(content))
    return True
