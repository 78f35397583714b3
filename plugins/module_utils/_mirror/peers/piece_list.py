# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Lists of pieces: the digest of each piece of a blob, so that a single piece can be verified.

The mirror has a list beside each large blob. So a node can pass on pieces of a blob before it has the whole blob, and a
node that receives a wrong piece knows who sent it.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from ..._ollama.digests import parse_digest
from ..._ollama.errors import CollectionError
from ..._ollama.json_text import read_json

#: The smallest blob with a list in bytes. A smaller blob costs the mirror very little.
LEAST_BLOB = 4 * 1024 * 1024

#: Bytes of a piece, which is what one request transfers and what a wrong piece wastes. With short pieces, a node soon
#: has a piece to pass on; with long pieces, a fast network needs fewer requests. So blobs of up to 1 GiB have pieces of
#: 1 MiB, and blobs of more than 2 GiB have pieces of 4 MiB.
SHORTEST_PIECE = 1024 * 1024
USUAL_PIECE = 4 * 1024 * 1024
_FEW_PIECES = 1024

#: The most pieces of a blob. Blobs of more than 64 GiB have longer pieces.
MOST_PIECES = 16384

#: The most bytes of a piece, which a blob server sends as one range. Blobs of more than 4 TiB get no list.
LONGEST_PIECE = 256 * 1024 * 1024

#: The largest list in bytes: 64 digits for each piece, and some more.
MAX_LIST = 2 * 1024 * 1024

_VERSION = 1
_DIGEST = 32  # bytes of SHA-256


class PieceListError(CollectionError):
    """A list of pieces cannot be used."""

    code = "piece_list"


class PieceList(NamedTuple):
    """The pieces of one blob.

    :param size: bytes of the blob.
    :param piece_size: bytes of each piece except the last one.
    :param digests: the SHA-256 of each piece, in order.
    """

    digest: str
    size: int
    piece_size: int
    digests: tuple[bytes, ...]

    def bounds(self, number: int) -> tuple[int, int]:
        """Return the offset of the first byte of a piece, and the offset after its last byte."""
        start = number * self.piece_size
        return start, min(start + self.piece_size, self.size)

    def encoded(self) -> bytes:
        """Return the list as the content of an object of the mirror."""
        document = {
            "version": _VERSION,
            "digest": self.digest,
            "size": self.size,
            "piece_size": self.piece_size,
            "pieces": b"".join(self.digests).hex(),
        }
        return json.dumps(document).encode("ascii")

    @classmethod
    def parse(cls, content: bytes, digest: str, size: int) -> PieceList:
        """Read the list of a blob.

        :param size: bytes of the blob, from its manifest.
        :raises PieceListError: if the list does not describe this blob.
        """
        try:
            document = read_json(content)
            if document["version"] != _VERSION or parse_digest(document["digest"]) != digest:
                raise ValueError("it belongs to another blob or version")
            piece_size, joined = document["piece_size"], bytes.fromhex(document["pieces"])
            if document["size"] != size or piece_size != piece_size_of(size):
                raise ValueError("it has other sizes")
        except (ValueError, TypeError, KeyError, CollectionError) as error:
            raise _unfit(digest, str(error)) from error
        if len(joined) != _DIGEST * -(-size // piece_size):
            raise _unfit(digest, "it has another number of pieces")
        digests = tuple(joined[at : at + _DIGEST] for at in range(0, len(joined), _DIGEST))
        return cls(digest, size, piece_size, digests)


class PieceHasher:
    """Makes the list of a blob from its bytes in order."""

    def __init__(self, digest: str, size: int) -> None:
        self._digest = digest
        self._size = size
        self._piece_size = piece_size_of(size)
        self._digests: list[bytes] = []
        self._whole = hashlib.sha256()
        self._seen = hashlib.sha256()
        self._left = self._piece_size

    def update(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._whole.update(data)
        while data:
            part, data = data[: self._left], data[self._left :]
            self._seen.update(part)
            self._left -= len(part)
            if not self._left:
                self._end_piece()

    @property
    def whole(self) -> str:
        """The digest of all bytes so far."""
        return f"sha256:{self._whole.hexdigest()}"

    def finish(self) -> PieceList:
        """Return the list. All bytes must have been taken."""
        if self._left < self._piece_size:
            self._end_piece()
        return PieceList(self._digest, self._size, self._piece_size, tuple(self._digests))

    def _end_piece(self) -> None:
        self._digests.append(self._seen.digest())
        self._seen = hashlib.sha256()
        self._left = self._piece_size


def piece_size_of(size: int) -> int:
    """Return the bytes of each piece of a blob except the last one."""
    piece = SHORTEST_PIECE
    while (piece < USUAL_PIECE and size > _FEW_PIECES * piece) or size > MOST_PIECES * piece:
        piece *= 2
    return piece


def has_pieces(size: int) -> bool:
    """Return whether a blob of some size gets a list."""
    return LEAST_BLOB <= size <= MOST_PIECES * LONGEST_PIECE


def _unfit(digest: str, why: str) -> PieceListError:
    return PieceListError(
        f"The list of pieces of {digest} in the mirror cannot be used: {why}",
        remedy="Publish the model again, which replaces the list",
        digest=digest,
    )
