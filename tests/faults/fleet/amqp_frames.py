# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AMQP 0-9-1 as bytes, including messages that a client library refuses to write.

The field kinds are those that RabbitMQ reads (its errata of the specification, section 3). A value is always bytes,
kind included, so that a test can put any bytes anywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: Properties in the order of the frame, the first at the highest bit of the flags.
PROPERTIES = (
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)

METHOD, HEADER, BODY = 1, 2, 3
FRAME_END = 0xCE

#: Bytes of a frame around its payload.
FRAMING = 8

_BASIC = 60
_PUBLISH = 40
_MANDATORY = 1


@dataclass(frozen=True)
class WireMessage:
    """A message with encoded properties."""

    exchange: str
    routing_key: str
    properties: Mapping[str, bytes]
    body: bytes


def short_string(content: bytes) -> bytes:
    """Return a short string, truncated to 255 bytes."""
    return bytes([len(content[:255])]) + content[:255]


def long_string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def text(content: bytes) -> bytes:
    """Return a field value that is a text."""
    return b"S" + long_string(content)


def integer(value: int) -> bytes:
    """Return a field value that is a signed integer of 64 bits."""
    return b"l" + struct.pack(">q", value)


def moment(seconds: int) -> bytes:
    """Return a field value that is a timestamp, which has 64 bits and no sign."""
    return b"T" + struct.pack(">Q", seconds)


def array(values: Iterable[bytes]) -> bytes:
    """Return a field value that is an array."""
    return b"A" + long_string(b"".join(values))


def table(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a table, without its kind."""
    return long_string(b"".join(short_string(name) + value for name, value in fields))


def inner_table(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a field value that is a table."""
    return b"F" + table(fields)


def nested_array(depth: int) -> bytes:
    """Return an array with a number of nested levels."""
    value = array([])
    for _level in range(depth - 1):
        value = array([value])
    return value


def nested_table(depth: int) -> bytes:
    """Return a table with a number of nested levels."""
    value = inner_table([])
    for _level in range(depth - 1):
        value = inner_table([(b"a", value)])
    return value


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes([FRAME_END])


def method(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    """Return a method frame."""
    return frame(METHOD, channel, struct.pack(">HH", class_id, method_id) + arguments)


def publish(channel: int, message: WireMessage, frame_max: int) -> bytes:
    """Return the frames that publish a message as mandatory."""
    arguments = struct.pack(">H", 0) + short_string(message.exchange.encode())
    arguments += short_string(message.routing_key.encode()) + bytes([_MANDATORY])
    pieces = [method(channel, _BASIC, _PUBLISH, arguments), _content_header(channel, message)]
    step = frame_max - FRAMING
    pieces += [frame(BODY, channel, message.body[at : at + step]) for at in range(0, len(message.body), step)]
    return b"".join(pieces)


def _content_header(channel: int, message: WireMessage) -> bytes:
    flags, values = 0, []
    for position, name in enumerate(PROPERTIES):
        if name in message.properties:
            flags |= 1 << (15 - position)
            values.append(message.properties[name])
    fixed = struct.pack(">HHQH", _BASIC, 0, len(message.body), flags)
    return frame(HEADER, channel, fixed + b"".join(values))


def split(data: bytes) -> tuple[list[tuple[int, int, bytes]], bytes]:
    """Return the complete frames at the beginning of what was received, and the rest.

    :return: kind, channel and payload of each frame.
    """
    frames, at = [], 0
    while len(data) - at >= FRAMING:
        kind, channel, size = struct.unpack_from(">BHI", data, at)
        if len(data) - at < size + FRAMING:
            break
        frames.append((kind, channel, data[at + 7 : at + 7 + size]))
        at += size + FRAMING
    return frames, data[at:]
