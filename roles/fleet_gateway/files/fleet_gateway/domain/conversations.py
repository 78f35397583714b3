# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conversation of a request, from headers and fields that clients send anyway."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional

from .._ollama.carried_paths import CARRIED_PATHS

#: Headers that name a conversation: of any client, of OpenAI's Codex, and of Open WebUI
#: (``ENABLE_FORWARD_USER_INFO_HEADERS``).
HEADERS = (b"x-session-id", b"x-conversation-id", b"session_id", b"x-openwebui-chat-id")

#: Fields of a body that name a conversation, the most exact first.
FIELDS = ("prompt_cache_key", "user")

#: The compared characters of opening messages. Openings that differ only later count as one conversation.
OPENING = 65_536

#: Roles of messages before the first question. These messages and the question are the opening.
_BEFORE = ("system", "developer")


def conversation_of(
    path: str, headers: Iterable[tuple[bytes, bytes]], document: Mapping[str, Any], key: str
) -> Optional[bytes]:
    """Return an identifier that only the turns of one conversation share; ``None`` without a conversation.

    :param path: one of ``CARRIED_PATHS``.
    :param headers: of the request, with names in lower case.
    :param document: the body.
    :param key: the name of the key; two keys share no conversation.
    """
    if CARRIED_PATHS[path].call == "embed":
        return None
    named = next((value for name, value in headers if name in HEADERS and value), None)
    if named is not None:
        return _hash(key, "named", (named.decode("latin-1"),))
    for field in FIELDS:
        value = document.get(field)
        if isinstance(value, str) and value:
            return _hash(key, field, (value,))
    opening = _opening(document)
    return None if opening is None else _hash(key, str(document.get("model")), _texts(opening))


def _opening(document: Mapping[str, Any]) -> Any:
    """Return the messages up to the first question, of any interface; ``None`` without messages."""
    messages = document.get("messages", document.get("input"))
    if isinstance(messages, str):
        found = [messages]
    elif isinstance(messages, list) and messages:
        found = []
        for message in messages:
            found.append(message)
            if not isinstance(message, dict) or message.get("role") not in _BEFORE:
                break
    else:
        return None
    return [document.get("system"), document.get("instructions"), found]


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a value in order; without recursion, because clients choose how deeply values are nested."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting.extend(reversed([part for pair in one.items() for part in pair]))
        elif isinstance(one, list):
            waiting.extend(reversed(one))


def _hash(key: str, kind: str, texts: Iterable[str]) -> bytes:
    seen = hashlib.blake2b(digest_size=16)
    left = OPENING
    for text in (key, kind, *_first(texts, left)):
        part = text.encode("utf-8", "surrogatepass")
        seen.update(b"%d:" % len(part) + part)
    return seen.digest()


def _first(texts: Iterable[str], left: int) -> Iterator[str]:
    for text in texts:
        yield text[:left]
        left -= len(text)
        if left <= 0:
            return
