# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Oddities of any message: of its headers, its properties, and of a body that is not JSON."""

from __future__ import annotations

import gzip
import struct
from random import Random

from . import odd_fields
from .amqp_frames import short_string
from .odd_drafts import Draft, Oddities, harmless
from .odd_json import odd_value, plain, written

_HEADERS = (
    *(b"x-legion-llm-model", b"x-legion-llm-request-type", b"x-legion-llm-schema-version", b"x-legion-llm-stream"),
    *(b"x-legion-fleet-deadline", b"reply_to", b"correlation_id", b"x-legion-correlation-id", b"function", b"iv"),
    *(b"x-legion-llm-conversation-id", b"x-legion-hostname", b"x-legion-fleet-redelivered", b"x-retry-count"),
    *(b"x-legion-fleet-attempt", b"x-legion-fleet-sequence", b"region", b"region_affinity", b"x-delivery-count"),
    *(b"x-first-death-queue", b"x-first-death-reason", b"CC", b"BCC", b"traceparent", b"x-stream-offset"),
)

#: Types whose messages are answers themselves, which no worker answers.
_ANSWERS = (b"llm.fleet.response", b"llm.fleet.error", b"llm.fleet.delta")


@harmless
def any_headers(random: Random, draft: Draft) -> None:
    for _one in range(random.choice((1, 1, 3, 30))):
        draft.headers.append((odd_fields.odd_name(random), odd_fields.odd_value(random)))
    draft.refusable = True  # RabbitMQ 4 has no internal form for some of them


def known_headers(random: Random, draft: Draft) -> None:
    for name in random.sample(_HEADERS, random.choice((1, 2, 5))):
        draft.headers.append((name, odd_fields.odd_value(random)))
    draft.refusable = True


@harmless
def deep_headers(random: Random, draft: Draft) -> None:
    draft.headers.append((random.choice((b"x", b"x-legion-llm-model")), odd_fields.deep_value(random)))
    draft.refusable = True


@harmless
def forged_deaths(random: Random, draft: Draft) -> None:
    draft.headers.append((b"x-death", odd_fields.odd_deaths(random)))
    draft.forged_deaths = True


@harmless
def forged_count(random: Random, draft: Draft) -> None:
    draft.headers.append((b"x-delivery-count", odd_fields.odd_count(random)))


@harmless
def odd_kinds(random: Random, draft: Draft) -> None:
    """Field kinds that pika reads and RabbitMQ may not."""
    draft.headers.append((b"x", odd_fields.foreign_value(random)))
    draft.refusable = True


# Properties.


@harmless
def odd_ids(random: Random, draft: Draft) -> None:
    for name in random.sample(("correlation_id", "message_id", "app_id", "content_type"), random.choice((1, 2))):
        if random.random() < 0.2:
            draft.properties.pop(name, None)
        else:
            draft.properties[name] = short_string(odd_fields.odd_bytes(random))


def odd_type(random: Random, draft: Draft) -> None:
    kind = random.choice((b"", b"task", b"llm.fleet.request\n", b"\xff", *_ANSWERS, odd_fields.odd_bytes(random)))
    draft.properties["type"] = short_string(kind)
    draft.answered &= kind not in _ANSWERS


@harmless
def odd_numbers(random: Random, draft: Draft) -> None:
    draft.properties["priority"] = bytes([random.randrange(256)])
    draft.properties["delivery_mode"] = bytes([random.choice((0, 1, 2, 3, 255))])
    draft.properties["timestamp"] = struct.pack(">Q", odd_fields.odd_seconds(random))
    draft.refusable = True


def odd_expiration(random: Random, draft: Draft) -> None:
    text = random.choice((b"0", b"1", b"60000", b"-1", b"", b"1e3", b"\xc2\xb2", b"60 000", b"9" * 30, b"4294967296"))
    draft.properties["expiration"] = short_string(text)
    draft.refusable, draft.expires = True, True


def odd_encoding(random: Random, draft: Draft) -> None:
    coding = random.choice((b"gzip", b"identity", b"IDENTITY", b"utf-8", b"encrypted/cs", b"", b"\xff", b"br\n"))
    draft.properties["content_encoding"] = short_string(coding)
    if coding == b"gzip":
        draft.body = gzip.compress(written(draft.fields), mtime=0)


@harmless
def odd_user(random: Random, draft: Draft) -> None:
    draft.properties["user_id"] = short_string(random.choice((b"lab", b"guest", b"", b"\xff")))
    draft.properties["cluster_id"] = short_string(odd_fields.odd_bytes(random))
    draft.refusable = True


def odd_reply_to(random: Random, draft: Draft) -> None:
    target = odd_fields.odd_reply_to(random)
    where = random.choice(("property", "property", "body", "header"))
    if where == "property":
        draft.properties["reply_to"] = short_string(target)
        draft.refusable |= target == b"amq.rabbitmq.reply-to"
    else:
        draft.properties.pop("reply_to", None)
    if where == "body":
        draft.fields["reply_to"] = plain(target.decode("latin-1"))
    elif where == "header":
        draft.headers.append((b"reply_to", b"S" + struct.pack(">I", len(target)) + target))
    draft.answered = False


@harmless
def repeated(random: Random, draft: Draft) -> None:
    draft.copies = random.choice((2, 3, 5))


def no_json(random: Random, draft: Draft) -> None:
    good = written(draft.fields)
    draft.body = random.choice(
        (
            b"",
            b" ",
            b"\x00",
            b"\xef\xbb\xbf" + good,
            good.decode(errors="replace").encode("utf-16"),
            good.decode(errors="replace").encode("utf-32-be"),
            good[:-1],
            good + good,
            good + b"\x00",
            b"\xff\xfe\xfd" * 30,
            gzip.compress(good, mtime=0),
            b"[" + good + b"]",
            b'"' + b"x" * 1000,
            b"[" * 50_000,
            random.randbytes(200),
            odd_value(random),
        )
    )


ODDITIES: Oddities = {
    "any_headers": (8, any_headers),
    "known_headers": (8, known_headers),
    "deep_headers": (2, deep_headers),
    "forged_deaths": (2, forged_deaths),
    "forged_count": (2, forged_count),
    "odd_kinds": (1, odd_kinds),
    "odd_ids": (6, odd_ids),
    "odd_type": (3, odd_type),
    "odd_numbers": (2, odd_numbers),
    "odd_expiration": (1, odd_expiration),
    "odd_encoding": (2, odd_encoding),
    "odd_user": (1, odd_user),
    "odd_reply_to": (6, odd_reply_to),
    "repeated": (2, repeated),
    "no_json": (3, no_json),
}
