# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of one answer, as the engine reads them."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import MirrorUnreachableError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.object_stream import ObjectStream
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.settings import S3Settings

SETTINGS = S3Settings("models", endpoint_url="http://127.0.0.1:9")


class Body:
    """Gives its bytes in pieces, then an end or an error."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)
        self.closed = False

    def readinto(self, view):
        if not self.pieces:
            return 0
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        view[: len(piece)] = piece
        return len(piece)

    def close(self):
        self.closed = True


def stream(*pieces):
    body = Body(*pieces)
    return ObjectStream(body, 7, SETTINGS, "s3://models/key"), body


def test_readinto_pieces_come_as_they_are():
    made, body = stream(b"con", b"tent")
    view = memoryview(bytearray(10))
    assert [made.readinto(view), made.readinto(view)] == [3, 4]
    assert bytes(view[:4]) == b"tent"
    made.close()
    assert body.closed


@pytest.mark.parametrize("end", [b"", ConnectionResetError(), TimeoutError()])
def test_readinto_answer_that_breaks_off_is_unreachable(end):
    made, _body = stream(b"con", end)
    view = memoryview(bytearray(10))
    made.readinto(view)
    with pytest.raises(MirrorUnreachableError, match="s3://models/key"):
        made.readinto(view)
