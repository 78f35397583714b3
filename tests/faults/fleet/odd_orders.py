# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Broadcasts with one or more oddities, for the updates of a node."""

from __future__ import annotations

from random import Random

from . import odd_properties
from .amqp_frames import short_string, text
from .odd_drafts import Draft, Oddities, OddMessage, changed, finished
from .odd_json import odd_depth, odd_text, odd_value, plain

#: The model that the mirror of the test has.
MODEL = "smollm2:135m"

EXCHANGE = "lex.ollama"
KEY = "lex.ollama.runners.s3_models.import_from_s3"

_NAMES = (
    MODEL,
    "smollm2:1.7b",
    "other:1",
    "smollm2.evil.example/library/x",
    "smollm2/../../x:1",
    "registry.ollama.ai/library/smollm2:135m",
    "../../etc/passwd",
    "smollm2:" + "x" * 60_000,
    "SMOLLM2:135M",
    "smollm2*",
    "hf.co/smollm2/x:Q4",
    "",
)


def honest_order(reply_to: str, correlation_id: str) -> OddMessage:
    """Return a valid broadcast, which asks for the plan of an import."""
    return finished(draft_of(reply_to, correlation_id), EXCHANGE, KEY)


def odd_order(random: Random, reply_to: str, correlation_id: str) -> OddMessage:
    """Return a broadcast with one to three oddities."""
    draft = draft_of(reply_to, correlation_id)
    return finished(changed(random, draft, ODDITIES), EXCHANGE, KEY)


def draft_of(reply_to: str, correlation_id: str) -> Draft:
    """Return a valid broadcast to change."""
    properties = {
        "content_type": short_string(b"application/json"),
        "correlation_id": short_string(correlation_id.encode()),
        "message_id": short_string(b"bcast_" + correlation_id.encode()),
        "reply_to": short_string(reply_to.encode()),
    }
    return Draft(properties, [], {"function": b'"plan_import_from_s3"', "model": plain(MODEL)})


def _odd_model(random: Random, draft: Draft) -> None:
    draft.fields["model"] = random.choice((plain(random.choice(_NAMES)), odd_text(random), odd_value(random)))


def _odd_function(random: Random, draft: Draft) -> None:
    value = random.choice((b'"import_from_s3"', b'"sync_from_s3"', b'["import_from_s3"]', odd_value(random)))
    draft.fields["function"] = value
    if random.random() < 0.3:
        del draft.fields["function"]
        draft.headers.append((b"function", text(value)))


def _odd_nodes(random: Random, draft: Draft) -> None:
    draft.fields["nodes"] = random.choice((b'["gpu-01"]', b'[["gpu-01"]]', b"[]", b'"gpu-01"', odd_value(random)))
    draft.answered = False  # it may be meant for others


def _odd_mirror(random: Random, draft: Draft) -> None:
    for name in random.sample(("bucket", "prefix", "endpoint", "region", "access_key", "x"), random.choice((1, 2))):
        draft.fields[name] = random.choice((b'"another"', b'"http://127.0.0.1:1"', odd_value(random)))


def _deep_order(random: Random, draft: Draft) -> None:
    draft.fields[random.choice(("function", "model", "nodes", "x"))] = odd_depth(random)
    draft.answered &= "nodes" not in draft.fields


def _large_order(random: Random, draft: Draft) -> None:
    draft.fields["x"] = plain("x" * random.choice((60_000, 66_000, 1_000_000)))


ODDITIES: Oddities = {
    **odd_properties.ODDITIES,
    "odd_model": (10, _odd_model),
    "odd_function": (5, _odd_function),
    "odd_nodes": (3, _odd_nodes),
    "odd_mirror": (5, _odd_mirror),
    "deep_order": (3, _deep_order),
    "large_order": (1, _large_order),
}
