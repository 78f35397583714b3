# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Header fields and short strings of a hostile sender."""

from __future__ import annotations

import struct
from random import Random

from .amqp_frames import array, inner_table, integer, long_string, moment, nested_array, nested_table, text

#: Seconds since 1970 that are something else: milliseconds, nanoseconds, after the year 9999, out of any range.
_SECONDS = (0, 1, 1_764_000_000, 1_764_312_000_000, 253_402_300_799, 253_402_300_800, 2**31, 2**32, 2**63, 2**64 - 1)

_BYTES = (
    b"",
    b"\xff\xfe",
    b"caf\xe9",
    b"\xed\xa0\x80",
    b"\x00",
    b"a\nlevel=error event=forged",
    b"\x1b[2J\x1b[31m",
    "\u202egpj.exe".encode(),
    "\u20ac".encode(),
    b"x" * 255,
    "\u20ac".encode() * 85,
    b"' OR 1=1 --",
    b"None",
)

_FLOATS = (0.0, -0.0, 1.5, 1e300, float("inf"), float("-inf"), float("nan"))

_REPLY_QUEUES = (
    b"",
    b"amq.rabbitmq.reply-to",
    b"amq.rabbitmq.reply-to.g1h2.AAA=",
    b"amq.rabbitmq.reply-to.g1h2AAAA",
    b"amq.rabbitmq.reply-to.\xff",
    b"amq.rabbitmq.reply-to." + b"A" * 200,
    b"llm.fleet.reply.nobody",
    b"llm.fleet.reply.\n",
    b"llm.fleet.reply.\xff",
    b"llm.fleet.reply." + b"x" * 239,
    b"amq.gen-nobody",
    b"amq.gen-\x00",
    b"llm.request.ollama.chat.smollm2.135m",
    b"llm.fleet.inference.smollm2-135m",
    b"ollama.dlx.queue",
    b"*",
    b"#",
)


def odd_bytes(random: Random) -> bytes:
    """Return the content of a short string."""
    return random.choice((*_BYTES, bytes(random.randrange(256) for _one in range(random.randrange(20)))))


def odd_name(random: Random) -> bytes:
    """Return the name of a header."""
    return random.choice((b"x", b"x", b"", b"x" * 255, b"\xff\xfe", b"x-\xe9", b"a\nb", b"x-legion-\xff", b"\x00"))


def odd_seconds(random: Random) -> int:
    return random.choice(_SECONDS)


def odd_reply_to(random: Random) -> bytes:
    return random.choice(_REPLY_QUEUES)


def odd_value(random: Random, levels: int = 3) -> bytes:
    """Return a value of any kind that RabbitMQ reads."""
    choice = random.randrange(17 if levels else 14)
    if choice < 4:
        content = random.choice((odd_bytes(random), odd_bytes(random), b"x" * 60_000, b"x" * 300))
        return random.choice((b"S", b"S", b"x")) + long_string(content)
    if choice < 6:
        return moment(odd_seconds(random))
    if choice < 10:
        return _number(random)
    if choice == 10:
        return b"t" + bytes([random.choice((0, 1, 7, 255))])
    if choice == 11:
        return b"V"
    if choice == 12:
        return random.choice(
            (b"f" + struct.pack(">f", _small(random)), b"d" + struct.pack(">d", random.choice(_FLOATS)))
        )
    if choice == 13:
        return b"D" + bytes([random.choice((0, 2, 255))]) + struct.pack(">i", random.choice((0, 7, -(2**31))))
    if choice == 14:
        return array(odd_value(random, levels - 1) for _one in range(random.randrange(4)))
    return inner_table((odd_name(random), odd_value(random, levels - 1)) for _one in range(random.randrange(4)))


def _small(random: Random) -> float:
    return random.choice((0.0, 1.5, float("inf"), float("nan")))


def _number(random: Random) -> bytes:
    """Return an integer of a random width."""
    kind = random.choice("bBsuIil")
    width = {"b": 1, "B": 1, "s": 2, "u": 2, "I": 4, "i": 4, "l": 8}[kind]
    content = random.choice(
        (b"\x00" * width, b"\xff" * width, b"\x7f" + b"\xff" * (width - 1), b"\x80" + b"\x00" * (width - 1))
    )
    return kind.encode() + content


def foreign_value(random: Random) -> bytes:
    """Return a value of a kind that some implementations do not know."""
    kind = random.choice((b"L", b"U", b"Z", b"\xff", b"\x00"))
    return kind + {b"L": b"\xff" * 8, b"U": b"\x80\x00"}.get(kind, b"")


def deep_value(random: Random) -> bytes:
    """Return a value nested deeper than any recursion limit."""
    return random.choice((nested_array, nested_table))(random.choice((30, 300, 900, 2000, 5000)))


def odd_deaths(random: Random) -> bytes:
    """Return a header x-death that no broker wrote."""
    return random.choice(
        (
            array([integer(1)]),
            array([text(b"x"), integer(1)]),
            array([inner_table([(b"a", integer(1))]), integer(1)]),
            array([inner_table([(b"count", text(b"x"))])]),
            array([inner_table([(b"count", integer(2**63 - 1)), (b"reason", text(b"rejected"))])]),
            integer(1),
            text(b"x"),
            inner_table([]),
            array([]),
        )
    )


def odd_count(random: Random) -> bytes:
    """Return a header x-delivery-count that no broker wrote."""
    return random.choice(
        (
            integer(20),
            integer(3),
            integer(1),
            integer(-1),
            integer(2**63 - 1),
            text(b"20"),
            b"t\x01",
            b"V",
            array([integer(9)]),
        )
    )
