# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Heads of pictures, which is all that is looked at."""

from __future__ import annotations

import base64
import struct


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(width: int, height: int) -> str:
    return text(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 6, 0, 0, 0) + b"crc!")


def jpeg(width: int, height: int, before: int = 0) -> str:
    """A JPEG with so many bytes of other segments before the one with the size."""
    others = b""
    while len(others) < before:
        others += b"\xff\xe1" + struct.pack(">H", 65535) + b"\xff\xc0" * 32766 + b"\0"
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\0" * 9
    return text(b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0" + b"\0" * 9 + others + b"\xff" + frame)


def webp(kind: bytes, content: bytes, *others: tuple[bytes, bytes]) -> str:
    chunks = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in (*others, (kind, content))
    )
    return text(b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks)


def lossy(width: int, height: int) -> bytes:
    return b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)


def lossless(width: int, height: int) -> bytes:
    return b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14)


def bmp(width: int, height: int) -> str:
    return text(b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, width, height))


def gif(width: int, height: int) -> str:
    return text(b"GIF89a" + struct.pack("<HH", width, height))


PIXEL = png(1, 1)
SOUND = text(b"RIFF\0\0\0\0WAVEfmt ")
