# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Translation of OpenAI's content parts to the messages of Ollama's own API.

A requester that was written for OpenAI's API may send a list of parts as the content of a message. Ollama's own API
allows only a text, and its error for a list is hard to understand. So this module makes a message of each part, like
Ollama's OpenAI-compatible API (openai/openai.go, FromChatRequest).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

from .option_ranges import RefusedFieldError
from .pictures import Pictures

#: Fields of a message (api/types.go). All others are left out, because Ollama ignores the case of names: it would read
#: ``Images`` as ``images``, and those pictures were not checked.
MESSAGE_FIELDS = frozenset({"role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id"})

_CONTENT = "messages.content"

#: Starts of addresses that contain the picture; the first is Ollama's form for an unknown kind.
_DATA = ("data:;base64,", *(f"data:image/{kind};base64," for kind in ("png", "jpeg", "jpg", "webp", "gif", "bmp")))


def messages_of(value: Any, left_out: list[str]) -> list[Any]:
    """Return the messages of a chat with their content parts translated.

    :param left_out: collects the names of omitted fields.
    :raises RefusedFieldError: when the value is not a list of messages, or has content that Ollama's API lacks.
    """
    if not isinstance(value, list):
        raise RefusedFieldError("messages", "must be a list of messages")
    pictures = Pictures()
    messages: list[Any] = []
    unknown: set[str] = set()
    for given in value:
        if not isinstance(given, dict):
            raise RefusedFieldError("messages", "must be a list of messages, each an object with role and content")
        message = given
        if not given.keys() <= MESSAGE_FIELDS:
            unknown |= given.keys() - MESSAGE_FIELDS
            message = {name: part for name, part in given.items() if name in MESSAGE_FIELDS}
        if message.get("images") is not None:
            pictures.add("messages.images", message["images"])
        content = message.get("content")
        if isinstance(content, list):
            messages += _translated(message, content, pictures)
        elif content is None or isinstance(content, str):
            messages.append(message)
        else:
            raise RefusedFieldError(_CONTENT, "must be a text or a list of content parts")
    left_out += sorted(f"messages.{name}" for name in unknown)
    return messages


def _translated(message: dict[str, Any], parts: list[Any], pictures: Pictures) -> Iterator[dict[str, Any]]:
    """Yield a message for each part; the last one also has all other fields of the message."""
    own = {name: part for name, part in message.items() if name != "content"}
    role = {name: own[name] for name in ("role",) if name in own}
    translated = [_part(part, pictures) for part in parts] or [{"content": ""}]
    for made in translated[:-1]:
        yield {**role, **made}
    last = translated[-1]
    images = [*(own.pop("images", None) or []), *last.get("images", [])]
    yield {**own, **last, **({"images": images} if images else {})}


def _part(part: Any, pictures: Pictures) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"content": part["text"]}
    found: Optional[str] = None
    if kind == "image_url":
        found = _picture(part.get("image_url"))
    elif kind == "input_audio":
        sound = part.get("input_audio")
        data = sound.get("data") if isinstance(sound, dict) else None
        found = data if isinstance(data, str) else None
    if found is None:
        raise RefusedFieldError(
            _CONTENT, "has a part that is not a text, image_url or input_audio, or that has no content"
        )
    pictures.add(_CONTENT, [found])
    return {"content": "", "images": [found]}


def _picture(address: Any) -> Optional[str]:
    """Return the picture that an address contains, in base64."""
    address = address.get("url") if isinstance(address, dict) else address
    if not isinstance(address, str):
        return None
    for beginning in _DATA:
        if address.startswith(beginning):
            return address[len(beginning) :]
    raise RefusedFieldError(
        _CONTENT,
        "has a picture behind a URL, which is not fetched; send the picture itself as data:image/png;base64,",
    )
