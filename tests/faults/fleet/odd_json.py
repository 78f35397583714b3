# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Valid and invalid JSON as bytes, including texts that no encoder writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random

#: Levels of nesting around what the readers take, around those at which Python's parser and its encoder would give up,
#: and far beyond.
DEPTHS = (99, 100, 970, 980, 986, 990, 995, 1000, 1500, 5000, 100_000)

_TEXTS = (
    b"",
    b" ",
    b"\\u0000",
    b"\\ud800",
    b"x\\udfffy",
    b"\\ude00\\ud83d",
    b"\\u001b[31mred\\u001b[0m",
    b"line\\nfeed level=error event=forged",
    b"\\u202eright to left",
    b"\\u2028\\u2029\\u0085",
    b"\xe2\x82\xac",
    b"\xff\xfe",
    b'quote\\"and\\\\backslash',
    b"../../etc/passwd",
    b"%s%n{0}{}$(id)",
    b"null",
)
_NUMBERS = (
    b"0",
    b"-0.0",
    b"-1",
    b"1",
    b"1.5",
    b"1e5",
    b"1e999",
    b"-1e999",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"4e-400",
    b"9" * 400,
    b"-" + b"9" * 4299,
    b"9" * 4400,
    b"1" + b"0" * 20 + b".5",
)


def written(fields: Mapping[str, bytes]) -> bytes:
    """Return an object from values in JSON."""
    return b"{" + b",".join(plain(name) + b":" + value for name, value in fields.items()) + b"}"


def plain(value: object) -> bytes:
    """Return a value as JSON."""
    return json.dumps(value).encode()


def nested(depth: int, inner: bytes = b"0") -> bytes:
    """Return arrays around a value."""
    return b"[" * depth + inner + b"]" * depth


def nested_objects(depth: int, inner: bytes = b"0") -> bytes:
    """Return objects around a value."""
    return b'{"a":' * depth + inner + b"}" * depth


def odd_text(random: Random) -> bytes:
    """Return the JSON of a text."""
    content = random.choice(_TEXTS)
    if random.random() < 0.1:
        content += random.choice((b"x", b"\\u0001", b"\xc3\xa9")) * random.choice((199, 255, 256, 300, 20_000, 200_000))
    return b'"' + content + b'"'


def odd_number(random: Random) -> bytes:
    return random.choice(_NUMBERS)


def odd_depth(random: Random) -> bytes:
    """Return something nested deeply."""
    depth = random.choice(DEPTHS)
    return random.choice((nested, nested_objects))(depth, random.choice((b"0", b'"x"', b"{}")))


def odd_value(random: Random, levels: int = 3) -> bytes:
    """Return any JSON, or almost valid JSON."""
    choice = random.randrange(12 if levels else 6)
    if choice < 2:
        return odd_text(random)
    if choice < 4:
        return odd_number(random)
    if choice < 6:
        return random.choice((b"null", b"true", b"false", b'"x"', b"3", b"[]", b"{}"))
    if choice < 8:
        return b"[" + b",".join(odd_value(random, levels - 1) for _one in range(random.randrange(4))) + b"]"
    if choice < 11:
        names = [random.choice((b'"a"', b'"a"', b'""', odd_text(random))) for _one in range(random.randrange(4))]
        return b"{" + b",".join(name + b":" + odd_value(random, levels - 1) for name in names) + b"}"
    return odd_depth(random)
