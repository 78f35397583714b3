# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.content_parts import messages_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.option_ranges import RefusedFieldError

from .picture_samples import PIXEL, SOUND, png

SEE = {"type": "text", "text": "What is this?"}
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}


def said(content: Any, **others: Any) -> list[Any]:
    return messages_of([{"role": "user", "content": content, **others}], [])


def test_messages_of_ollamas_own_form_stay_as_they_are() -> None:
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "x", "images": [PIXEL]},
        {"role": "assistant", "content": None, "thinking": "t", "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "tool", "content": "7", "tool_name": "f", "tool_call_id": "1"},
        {},
    ]
    left_out: list[str] = []
    assert messages_of(messages, left_out) == messages
    assert left_out == []


def test_messages_of_content_parts_make_a_message_of_each() -> None:
    assert said([SEE, PICTURE, {"type": "text", "text": "And why?"}]) == [
        {"role": "user", "content": "What is this?"},
        {"role": "user", "content": "", "images": [PIXEL]},
        {"role": "user", "content": "And why?"},
    ]


@pytest.mark.parametrize(
    "part, image",
    [
        (PICTURE, PIXEL),
        ({"type": "image_url", "image_url": f"data:;base64,{PIXEL}"}, PIXEL),
        ({"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}}, SOUND),
    ],
)
def test_messages_of_a_part_with_data_take_the_data_as_image(part: Any, image: str) -> None:
    assert said([part]) == [{"role": "user", "content": "", "images": [image]}]


def test_messages_of_content_parts_leave_the_rest_with_the_last_part() -> None:
    assert said([SEE, PICTURE], images=[PIXEL], thinking="t") == [
        {"role": "user", "content": "What is this?"},
        {"role": "user", "content": "", "thinking": "t", "images": [PIXEL, PIXEL]},
    ]
    assert said([]) == [{"role": "user", "content": ""}]


@pytest.mark.parametrize(
    "content",
    [
        7,
        {},
        True,
        [7],
        ["x"],
        [{"type": "text"}],
        [{"type": "text", "text": 7}],
        [{"type": "file", "file": {"file_id": "x"}}],
        [{"text": "x"}],
        [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}],
        [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}],
        [{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}}],
        [{"type": "image_url", "image_url": 7}],
        [{"type": "image_url"}],
        [{"type": "input_audio", "input_audio": {"data": 7}}],
        [{"type": "input_audio"}],
    ],
)
def test_messages_of_a_part_without_a_place_in_ollamas_api_are_refused(content: Any) -> None:
    with pytest.raises(RefusedFieldError, match=r"messages\.content"):
        said(content)


@pytest.mark.parametrize("messages", [None, {}, "x", [7], [None], [[]]])
def test_messages_of_something_else_are_refused(messages: Any) -> None:
    with pytest.raises(RefusedFieldError, match="messages must be"):
        messages_of(messages, [])


@pytest.mark.parametrize("name", ["Images", "IMAGES", "image\u017f", "Content", "name", "cache_control"])
def test_messages_of_unknown_fields_lose_them_and_name_them(name: str) -> None:
    left_out: list[str] = []
    assert (
        messages_of([{"role": "user", "content": "x", name: [png(60_000, 60_000)]}] * 2, left_out)
        == [{"role": "user", "content": "x"}] * 2
    )
    assert left_out == [f"messages.{name}"]


def test_messages_of_too_many_pictures_are_refused_wherever_these_are() -> None:
    one = {"role": "user", "content": [PICTURE, SEE], "images": [PIXEL] * 7}
    messages_of([one] * 4, [])
    with pytest.raises(RefusedFieldError, match="32 pictures"):
        messages_of([one] * 4 + [{"role": "user", "images": [PIXEL]}], [])
