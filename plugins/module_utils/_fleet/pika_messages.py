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

#: What a frame begins and ends with, and what a content header begins with (AMQP 0-9-1, 4.2.3 and 2.3.5.2).
_FRAME = struct.Struct(">BHI")
_FRAME_END = 0xCE
_CONTENT_HEADER = struct.Struct(">HHQ")
_HEADER_FRAME = 2
_BASIC = 60


class TolerantFrames:
    """Has a connection of pika read the properties of messages with :func:`read_properties`, which never raises.

    To be inherited from before pika's connection. An error of pika's own reader ends the connection, and with it
    the work on every other request.
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
    """Return a message of what pika delivers."""
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
    """Return which publishes a frame of publisher confirms is about, and whether the broker has them.

    A tag may be none of those that wait: its publish was given up meanwhile.

    :param frame: what pika gives to the callback of ``confirm_delivery``: an ack or a nack.
    :param waiting: delivery tags of the publishes that wait for a confirm; ``multiple`` means all up to the frame's.
    """
    method = frame.method
    tag = method.delivery_tag
    # Mostly one: no look at the others then.
    tags = [each for each in waiting if each <= tag] if method.multiple else [tag]
    return tags, type(method).__name__ == "Ack"
