# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The properties of a message, read from the bytes of AMQP 0-9-1.

The broker passes on what a requester wrote. pika's own reader (1.4.4, data.py) raises for values that AMQP allows: a
timestamp after the year 9999, a number that is not finite, an array nested a thousand deep. pika then ends the
connection, and the broker redelivers the same message. The reader here never raises. It marks an unreadable header,
and continues with the next one.
"""

from __future__ import annotations

import math
import struct
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Callable

#: The most levels of nested arrays and tables. The broker's own header ``x-death`` has two.
MAX_DEPTH = 16

#: The most values of one message, including those in arrays and tables. A fleet message has about twenty.
MAX_VALUES = 1024

#: Headers of the broker, which the reader reads after any number of other headers.
BROKER_HEADERS = frozenset({"x-delivery-count", "x-death"})


class _Unreadable:
    """The value of a header that cannot be read. It has no type that a reader of headers looks for."""

    def __repr__(self) -> str:
        return "<unreadable>"


UNREADABLE = _Unreadable()


class _UnreadableError(Exception):
    """A value is invalid, or exceeds a limit of this reader."""


def read_properties(encoded: bytes) -> dict[str, Any]:
    """Read the properties of a message. Leave out absent and truncated properties.

    :param encoded: the bytes after class, weight and size in a content header.
    :return: the properties, by their names in pika's ``BasicProperties``. Bytes of a text that are not UTF-8 become
        surrogates (``surrogateescape``), so that an answer can repeat the exact bytes.
    """
    found: dict[str, Any] = {}
    try:
        flags, at, shift = 0, 0, 0
        while True:
            (word,) = _WORD.unpack_from(encoded, at)
            flags |= word << shift
            at, shift = at + 2, shift + 16
            if not word & 1:
                break
        for flag, name, read in _PROPERTIES:
            if flags & flag:
                found[name], at = read(encoded, at)
    except (struct.error, IndexError):
        pass  # no broker sends that
    return found


def _short_text(encoded: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + encoded[at]
    return encoded[at + 1 : end].decode("utf-8", "surrogateescape"), end


def _octet(encoded: bytes, at: int) -> tuple[int, int]:
    return encoded[at], at + 1


def _seconds(encoded: bytes, at: int) -> tuple[int, int]:
    return _LONG.unpack_from(encoded, at)[0], at + 8


def _headers(encoded: bytes, at: int) -> tuple[dict[str, Any], int]:
    """Read the table of headers.

    The first of two headers with one name counts, because the broker writes over the first one only.
    """
    (size,) = _LENGTH.unpack_from(encoded, at)
    at += 4
    end = at + size
    reader = _ValueReader(encoded)
    found: dict[str, Any] = {}
    try:
        while at < end:
            start = at + 1 + encoded[at]
            stop = reader.end_of(start)
            if stop > end:
                break
            name = encoded[at + 1 : start]
            at = stop
            try:
                text = name.decode()
            except UnicodeDecodeError:
                continue
            if text in found or (reader.values_left <= 0 and text not in BROKER_HEADERS):
                continue
            try:
                found[text] = reader.value(start, stop, 0)
            except (_UnreadableError, struct.error, IndexError):
                found[text] = UNREADABLE
    except (_UnreadableError, struct.error, IndexError):
        pass  # a kind without a known size: where the next header begins is not known
    return found, end


class _ValueReader:
    """Reads field values out of the bytes of one message.

    :ivar values_left: values that may still be read, unless the broker wrote them.
    """

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded
        self.values_left = MAX_VALUES

    def end_of(self, at: int) -> int:
        """Return the end of the value that begins, with its kind, at ``at``.

        :raises _UnreadableError: if the kind is unknown.
        """
        kind = self._encoded[at]
        fixed = _FIXED.get(kind)
        if fixed is not None:
            return at + 1 + fixed[0].size
        if kind not in _WITH_LENGTH:
            raise _UnreadableError
        return int(at + 5 + _LENGTH.unpack_from(self._encoded, at + 1)[0])

    def value(self, at: int, end: int, depth: int) -> Any:
        """Read the value that begins, with its kind, at ``at``.

        :param end: the end of the value, from :meth:`end_of`.
        :param depth: the depth of the array or table around the value; 0 for the headers themselves.
        :raises _UnreadableError: if the value is invalid.
        """
        self.values_left -= 1
        kind = self._encoded[at]
        fixed = _FIXED.get(kind)
        if fixed is not None:
            form, make = fixed
            return make(*form.unpack_from(self._encoded, at + 1))
        if kind in (_ARRAY, _TABLE):
            if depth >= MAX_DEPTH:
                raise _UnreadableError
            return self._array(at + 5, end, depth) if kind == _ARRAY else self._table(at + 5, end, depth)
        content = self._encoded[at + 5 : end]
        if kind == _BYTES:
            return content
        try:
            return content.decode()
        except UnicodeDecodeError:
            return content

    def _array(self, at: int, end: int, depth: int) -> list[Any]:
        values = []
        while at < end:
            value, at = self._inner(at, end, depth)
            values.append(value)
        return values

    def _table(self, at: int, end: int, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while at < end:
            name, start = _short_text(self._encoded, at)
            value, at = self._inner(start, end, depth)
            values.setdefault(name, value)
        return values

    def _inner(self, at: int, end: int, depth: int) -> tuple[Any, int]:
        """Read a value of an array or table that ends at ``end``; return it, and the start of the next value."""
        stop = self.end_of(at)
        if self.values_left <= 0 or stop > end:
            raise _UnreadableError
        return self.value(at, stop, depth + 1), stop


def _nothing() -> None:
    return None


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise _UnreadableError
    return value


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError) as error:
        raise _UnreadableError from error


def _decimal(places: int, number: int) -> Decimal:
    return Decimal(number).scaleb(-places)


_WORD, _LENGTH, _LONG = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q")

#: The kinds with a fixed size: the format of the content, and the function that makes the value.
_FIXED: dict[int, tuple[struct.Struct, Callable[..., Any]]] = {
    ord(kind): (struct.Struct(form), make)
    for kind, form, make in (
        ("t", ">?", bool),
        ("b", ">b", int),
        ("B", ">B", int),
        ("s", ">h", int),
        ("U", ">h", int),
        ("u", ">H", int),
        ("I", ">i", int),
        ("i", ">I", int),
        ("l", ">q", int),
        ("L", ">q", int),
        ("f", ">f", _finite),
        ("d", ">d", _finite),
        ("D", ">Bi", _decimal),
        ("T", ">Q", _moment),
        ("V", ">", _nothing),
    )
}

#: The kinds that begin with their length: text, bytes, array and table.
_WITH_LENGTH = frozenset(b"SxAF")
_BYTES, _ARRAY, _TABLE = ord("x"), ord("A"), ord("F")

#: In the order in which they are sent.
_PROPERTIES: tuple[tuple[int, str, Callable[[bytes, int], tuple[Any, int]]], ...] = (
    (1 << 15, "content_type", _short_text),
    (1 << 14, "content_encoding", _short_text),
    (1 << 13, "headers", _headers),
    (1 << 12, "delivery_mode", _octet),
    (1 << 11, "priority", _octet),
    (1 << 10, "correlation_id", _short_text),
    (1 << 9, "reply_to", _short_text),
    (1 << 8, "expiration", _short_text),
    (1 << 7, "message_id", _short_text),
    (1 << 6, "timestamp", _seconds),
    (1 << 5, "type", _short_text),
    (1 << 4, "user_id", _short_text),
    (1 << 3, "app_id", _short_text),
    (1 << 2, "cluster_id", _short_text),
)
