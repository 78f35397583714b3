# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Messages to and from pika's classes."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from .._ollama.errors import MissingDependencyError
from .amqp_properties import read_properties
from .messages import Message, Properties

_NAMES = tuple(field.name for field in fields(Properties))

#: The start and the end of a frame, and the start of a content header (AMQP 0-9-1, 4.2.3 and 2.3.5.2).
_FRAME = struct.Struct(">BHI")
_FRAME_END = 0xCE
_CONTENT_HEADER = struct.Struct(">HHQ")
_HEADER_FRAME = 2
_BASIC = 60


class TolerantFrames:
    """Make a connection of pika read the properties of messages with :func:`read_properties`, which never raises.

    This mixin stands before pika's connection in the list of bases. An error of pika's own reader would end the
    connection, and the work on all other requests with it.
    """

    _frame_buffer: bytes

    def _read_frame(self) -> tuple[int, Any]:
        data = self._frame_buffer
        if data[0] != _HEADER_FRAME or len(data) < _FRAME.size:
            return super()._read_frame()  # type: ignore[misc,no-any-return]
        _kind, channel, size = _FRAME.unpack_from(data)
        end = _FRAME.size + size
        if len(data) <= end:
            return 0, None  # the rest is on its way
        if size < _CONTENT_HEADER.size or data[end] != _FRAME_END:
            return super()._read_frame()  # type: ignore[misc,no-any-return]
        kind, _weight, body_size = _CONTENT_HEADER.unpack_from(data, _FRAME.size)
        if kind != _BASIC:
            return super()._read_frame()  # type: ignore[misc,no-any-return]
        encoded = data[_FRAME.size + _CONTENT_HEADER.size : end]
        return end + 1, _header_frame(channel, body_size, read_properties(encoded))


def _header_frame(channel: int, body_size: int, properties: dict[str, Any]) -> Any:
    try:
        from pika.frame import Header
        from pika.spec import BasicProperties
    except ImportError as error:
        raise MissingDependencyError("pika", "talk to the broker") from error

    return Header(channel, body_size, BasicProperties(**properties))


def from_pika(properties: Any, body: bytes) -> Message:
    """Return the message that pika has delivered."""
    return Message(
        Properties(**{name: getattr(properties, name) for name in _NAMES}), dict(properties.headers or {}), body
    )


def to_pika(message: Message) -> Any:
    """Return the ``pika.BasicProperties`` of a message.

    :raises MissingDependencyError: without pika.
    """
    try:
        from pika import BasicProperties
    except ImportError as error:
        raise MissingDependencyError("pika", "talk to the broker") from error

    properties = {name: getattr(message.properties, name) for name in _NAMES}
    odd = properties["correlation_id"]
    if odd is not None and not odd.isascii():
        properties["correlation_id"] = odd.encode("utf-8", "surrogateescape")
    return BasicProperties(**properties, headers=dict(message.headers))


def confirmed_tags(frame: Any, waiting: Iterable[int]) -> tuple[list[int], bool]:
    """Return the delivery tags of a publisher confirm, and whether the broker has taken the messages.

    A returned tag may be missing in ``waiting``, if its publish was given up meanwhile.

    :param frame: an ack or a nack, which pika passes to the callback of ``confirm_delivery``.
    :param waiting: the tags that wait for a confirm; a frame with ``multiple`` confirms all of them up to its own tag.
    """
    method = frame.method
    tag = method.delivery_tag
    # Most frames confirm one tag, without a search.
    tags = [each for each in waiting if each <= tag] if method.multiple else [tag]
    return tags, type(method).__name__ == "Ack"
