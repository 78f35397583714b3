# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Limits of a request's pictures: their number, and their pixels, which the runner unpacks into memory.

A PNG of some kilobytes can be 60,000 pixels wide and high, for which the runner takes 14 GB. The head of each format
has the size, so no picture is unpacked here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any, Optional

from .option_ranges import RefusedFieldError

#: The most pictures of a request, pixels of one picture, and pixels of all pictures together.
MAX_PICTURES = 32
MAX_PIXELS = 40_000_000
MAX_PIXELS_IN_ALL = 120_000_000

#: Characters of base64 to decode first, because most heads are shorter. A multiple of four.
_HEAD = 4096

#: The most parts of a picture to search for its size, JPEG's segments or WebP's chunks. A picture with a large profile
#: and a large description has some hundreds.
MAX_PARTS = 1000

#: JPEG's fill bytes with the beginning of a marker.
_FILL = re.compile(rb"\xff+")
#: JPEG's markers before a size (SOF0 to SOF15), and its markers without content.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})

Size = tuple[int, int]


class Pictures:
    """Counts the pictures of one request."""

    def __init__(self) -> None:
        self._count = 0
        self._pixels = 0

    def add(self, field: str, value: Any) -> None:
        """Check a list of pictures in base64.

        :raises RefusedFieldError: when the value is not a list of pictures, or has too many pictures or pixels.
        """
        if not isinstance(value, list):
            raise RefusedFieldError(field, "must be a list of pictures in base64")
        self._count += len(value)
        if self._count > MAX_PICTURES:
            raise RefusedFieldError(field, f"has more than the {MAX_PICTURES} pictures allowed", too_large=True)
        for picture in value:
            width, height = _size_of(field, picture)
            self._pixels += width * height
            if width * height > MAX_PIXELS or self._pixels > MAX_PIXELS_IN_ALL:
                raise RefusedFieldError(
                    field,
                    f"has a picture of {width} x {height} pixels; {MAX_PIXELS} are allowed in one picture, and"
                    f" {MAX_PIXELS_IN_ALL} in all of a request",
                    too_large=True,
                )


def _size_of(field: str, picture: Any) -> Size:
    """Return width and height; both are 0 for sound, which Ollama accepts in the same field."""
    if not isinstance(picture, str):
        raise RefusedFieldError(field, "must be a list of pictures in base64")
    try:
        found = size_of(base64.b64decode(picture[:_HEAD]))
        if found is None and len(picture) > _HEAD:
            found = size_of(base64.b64decode(picture))
    except (binascii.Error, ValueError):
        raise RefusedFieldError(field, "has a picture that is not base64") from None
    if found is None:
        raise RefusedFieldError(field, "has a picture that is not PNG, JPEG, WebP, GIF or BMP")
    return found


def size_of(data: bytes) -> Optional[Size]:
    """Return width and height of a picture; (0, 0) for sound in WAV, None when the data has no size."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return (_number(data, 16, 4, "big"), _number(data, 20, 4, "big")) if data[12:16] == b"IHDR" else None
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        return 0, 0
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_size(data)
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        return _number(data, 6, 2), _number(data, 8, 2)
    if data.startswith(b"BM") and len(data) >= 26:
        width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
        return abs(width), abs(height)  # the sign of the height gives the order of the rows
    return None


def _number(data: bytes, at: int, size: int, order: Any = "little") -> int:
    return int.from_bytes(data[at : at + size], order)


def _jpeg_size(data: bytes) -> Optional[Size]:
    at = 2
    for _part in range(MAX_PARTS):
        fill = _FILL.match(data, at)
        if fill is None or fill.end() + 8 > len(data):
            return None
        at = fill.end() - 1
        marker = data[at + 1]
        if marker in _ALONE:
            at += 2
        elif marker in _FRAMES:
            return _number(data, at + 7, 2, "big"), _number(data, at + 5, 2, "big")
        else:
            at += 2 + max(2, _number(data, at + 2, 2, "big"))
    return None


def _webp_size(data: bytes) -> Optional[Size]:
    """Return the size of the picture itself, because the declared size of the canvas may be smaller."""
    for kind, at in _webp_chunks(data):
        if kind == b"VP8 " and at + 10 <= len(data):
            return _number(data, at + 6, 2) & 0x3FFF, _number(data, at + 8, 2) & 0x3FFF
        if kind == b"VP8L" and at + 5 <= len(data):
            bits = _number(data, at + 1, 4)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the kind of each chunk, and where its content begins."""
    at = 12
    for _part in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        yield data[at : at + 4], at + 8
        size = _number(data, at + 4, 4)
        at += 8 + size + size % 2
