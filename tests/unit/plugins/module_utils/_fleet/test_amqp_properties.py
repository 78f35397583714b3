# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties are read as pika reads them, and bytes that pika does not survive cost one header."""

from __future__ import annotations

import datetime
import struct
from typing import Any

import pika
import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.amqp_properties import (
    MAX_VALUES,
    UNREADABLE,
    read_properties,
)
from hypothesis import given
from hypothesis import strategies as st

HEADERS, CORRELATION_ID = 1 << 13, 1 << 10


def entry(name: bytes, kind: bytes, content: bytes = b"") -> bytes:
    return bytes([len(name)]) + name + kind + content


def sized(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def headers_of(*entries: bytes) -> Any:
    """Read the headers of a message, which has a correlation id behind them."""
    found = read_properties(struct.pack(">H", HEADERS | CORRELATION_ID) + sized(b"".join(entries)) + b"\x03c-1")
    assert found["correlation_id"] == "c-1", "what follows the headers was lost"
    return found["headers"]


def nested(kind: bytes, depth: int) -> bytes:
    inner = b""
    for _level in range(depth):
        inner = kind + sized(inner if kind == b"A" else (entry(b"a", inner) if inner else b""))
    return inner


TABLES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
SHORT = st.text(max_size=60)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "content_type": SHORT,
            "headers": st.dictionaries(SHORT, TABLES, max_size=8),
            "delivery_mode": st.integers(0, 255),
            "priority": st.integers(0, 255),
            "correlation_id": SHORT,
            "reply_to": SHORT,
            "message_id": SHORT,
            "timestamp": st.integers(0, 2**64 - 1),
            "type": SHORT,
            "cluster_id": SHORT,
        },
    )
)
def test_read_properties_of_what_pika_writes_returns_the_same(properties: dict[str, Any]) -> None:
    assert read_properties(b"".join(pika.BasicProperties(**properties).encode())) == properties


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"\x20\x00" + sized(data)))
def test_read_properties_of_any_bytes_does_not_raise(data: bytes) -> None:
    assert isinstance(read_properties(data), dict)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"T" + struct.pack(">Q", 1764312000000), id="timestamp in milliseconds"),
        pytest.param(b"T" + struct.pack(">Q", 253402300800), id="timestamp after the year 9999"),
        pytest.param(b"T" + struct.pack(">Q", 2**64 - 1), id="timestamp of 64 bits"),
        pytest.param(b"d" + struct.pack(">d", float("nan")), id="not a number"),
        pytest.param(b"f" + struct.pack(">f", float("inf")), id="infinite"),
        pytest.param(nested(b"A", 5000), id="array nested 5000 deep"),
        pytest.param(nested(b"F", 2000), id="table nested 2000 deep"),
        pytest.param(b"A" + sized(b"V" * 100_000), id="array of 100000 values"),
        pytest.param(b"A" + sized(b"S" + struct.pack(">I", 2**31)), id="text longer than its array"),
        pytest.param(b"A" + sized(b"Z"), id="unknown kind in an array"),
    ],
)
def test_headers_with_a_value_that_cannot_be_read_keep_the_others(content: bytes) -> None:
    found = headers_of(entry(b"before", b"t\x01"), entry(b"odd", content), entry(b"after", b"I\x00\x00\x00\x07"))
    assert found["before"] is True
    assert found["odd"] is UNREADABLE
    assert found.get("after", 7) == 7, "no header after the limit of values is read"


def test_headers_of_every_kind_are_read() -> None:
    found = headers_of(
        entry(b"U", b"U", struct.pack(">h", -2)),
        entry(b"s", b"s", struct.pack(">h", -3)),
        entry(b"L", b"L", struct.pack(">q", -4)),
        entry(b"D", b"D", b"\xff" + struct.pack(">i", 7)),
        entry(b"T", b"T", struct.pack(">Q", 1764312000)),
        entry(b"d", b"d", struct.pack(">d", 1e300)),
        entry(b"x", b"x", sized(b"\xff")),
        entry(b"S", b"S", sized(b"\xff")),
    )
    assert (found["U"], found["s"], found["L"], found["d"]) == (-2, -3, -4, 1e300)
    assert str(found["D"]) == "7E-255"
    assert found["T"] == datetime.datetime(2025, 11, 28, 6, 40, tzinfo=datetime.timezone.utc)
    assert found["x"] == found["S"] == b"\xff"


def test_headers_with_an_unknown_kind_keep_what_precedes() -> None:
    assert headers_of(entry(b"a", b"t\x00"), entry(b"b", b"Z"), entry(b"c", b"t\x01")) == {"a": False}


def test_headers_with_a_name_that_is_not_utf8_keep_the_others() -> None:
    assert headers_of(entry(b"\xff", b"V"), entry(b"a", b"V")) == {"a": None}


def test_headers_with_one_name_twice_have_the_first() -> None:
    """RabbitMQ 3.10 writes over the first one only, and leaves a second one to the requester."""
    count = b"x-delivery-count"
    found = headers_of(entry(count, b"l", struct.pack(">q", 0)), entry(count, b"l", struct.pack(">q", 20)))
    assert found == {count.decode(): 0}


def test_headers_behind_too_many_have_those_of_the_broker() -> None:
    many = b"".join(entry(b"%05d" % number, b"V") for number in range(2 * MAX_VALUES))
    broker = entry(b"x-death", b"A" + sized(b"V")) + entry(b"x-delivery-count", b"l", struct.pack(">q", 3))
    found = headers_of(many, broker)
    assert len(found) == MAX_VALUES + 2
    assert found["x-delivery-count"] == 3
    assert found["x-death"] is UNREADABLE, "it is known that there is one"


def test_read_properties_of_text_that_is_not_utf8_keeps_its_bytes() -> None:
    found = read_properties(struct.pack(">H", CORRELATION_ID) + b"\x03\xe9-1")
    assert found["correlation_id"].encode("utf-8", "surrogateescape") == b"\xe9-1"
