# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.option_ranges import RefusedFieldError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.pictures import Pictures, size_of

from .picture_samples import PIXEL, SOUND, bmp, gif, jpeg, lossless, lossy, png, text, webp

CANVAS = (b"VP8X", b"\0" * 10)


@pytest.mark.parametrize(
    "picture",
    [
        png(640, 480),
        jpeg(640, 480),
        jpeg(640, 480, before=200_000),
        text(b"\xff\xd8" + b"\xff" * 1_000_000 + base64.b64decode(jpeg(640, 480))[2:]),
        webp(b"VP8 ", lossy(640, 480)),
        webp(b"VP8L", lossless(640, 480)),
        # What is drawn on says one pixel.
        webp(b"VP8 ", lossy(640, 480), CANVAS, (b"ICCP", b"x" * 5001)),
        bmp(640, -480),
        gif(640, 480),
    ],
)
def test_size_of_each_kind_is_found(picture: str) -> None:
    assert size_of(base64.b64decode(picture)) == (640, 480)
    Pictures().add("images", [picture])


@pytest.mark.parametrize(
    "picture",
    [
        png(60_000, 60_000),
        png(2**32 - 1, 2**32 - 1),
        jpeg(65_535, 65_535),
        jpeg(65_535, 65_535, before=200_000),
        webp(b"VP8 ", lossy(16_383, 16_383)),
        webp(b"VP8L", lossless(16_384, 16_384), CANVAS),
        bmp(2**31 - 1, -(2**31)),
        gif(65_535, 65_535),
    ],
)
def test_add_refuses_a_picture_that_would_fill_the_memory(picture: str) -> None:
    with pytest.raises(RefusedFieldError, match="pixels") as caught:
        Pictures().add("images", [picture])
    assert caught.value.too_large


@pytest.mark.parametrize(
    "value",
    [
        "x",
        {},
        [7],
        [None],
        [""],
        ["!!!!!"],
        ["QUJD" * 10],
        [text(b"<svg xmlns='http://www.w3.org/2000/svg'/>")],
        [text(b"\x89PNG\r\n\x1a\n" + b"\0" * 30)],
        [text(b"\xff\xd8" + b"\xff\xe1\0\0" * 3000)],
        [text(b"\xff\xd8" + b"\xff" * 5000)],
        [text(b"RIFF\0\0\0\0WEBP" + b"\0" * 40)],
        [text(b"BM")],
        # More parts than a picture has, before its size.
        [text(b"\xff\xd8" + b"\xff\xd0" * 2000 + base64.b64decode(jpeg(1, 1))[2:])],
        [text(b"\xff\xd8" + b"\xff\xe1\0\2" * 2000 + base64.b64decode(jpeg(1, 1))[2:])],
        [webp(b"VP8 ", lossy(1, 1), *[(b"ICCP", b"")] * 2000)],
    ],
)
def test_add_refuses_what_is_no_picture(value: Any) -> None:
    with pytest.raises(RefusedFieldError, match=r"images (must be|has a picture that)"):
        Pictures().add("images", value)


def test_add_counts_the_pictures_and_pixels_of_all_messages() -> None:
    pictures = Pictures()
    for _message in range(3):
        pictures.add("images", [png(5000, 7000)])
    with pytest.raises(RefusedFieldError, match="pixels"):
        pictures.add("images", [png(5000, 7000)])
    with pytest.raises(RefusedFieldError, match="32 pictures"):
        Pictures().add("images", [PIXEL] * 33)


def test_add_takes_sound_where_ollama_takes_it() -> None:
    Pictures().add("images", [SOUND])
