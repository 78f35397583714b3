# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests with one or more oddities, each made from a random generator only.

A request begins as an honest one, and each oddity changes something of it: its properties, its headers, its body, or
what the scripted Ollama will answer to it. An oddity also says what may be expected of the worker afterwards.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from random import Random

from . import odd_properties
from .amqp_frames import short_string
from .odd_drafts import Draft, Oddities, OddMessage, changed, finished
from .odd_json import nested, odd_depth, odd_number, odd_text, odd_value, plain, written

#: Bytes that the worker under test lets a request have.
MAX_REQUEST = 1024 * 1024

#: Before the number by which the scripted Ollama knows that it has to answer oddly, and how.
ODD_ANSWER = "odd-answer-"

#: What a request of each type has in its body, beside the fields of any request.
_ASKS: Mapping[str, Mapping[str, object]] = {
    "chat": {"messages": [{"role": "user", "content": "Hello"}]},
    "generate": {"prompt": "Tell"},
    "embed": {"input": "some text"},
}

#: Fields of bodies, of every dialect and of Ollama's API.
_FIELDS = (
    *("request_type", "model", "provider", "protocol_version", "message_context", "correlation_id", "params"),
    *("messages", "prompt", "input", "text", "images", "system", "suffix", "raw", "template", "context", "tools"),
    *("options", "keep_alive", "format", "think", "truncate", "shift", "dimensions", "stream", "logprobs"),
    *("top_logprobs", "tool_choice", "response_format", "generation", "stop", "tokens", "ttl", "timeout_seconds"),
)
_OPTIONS = (
    *("temperature", "top_k", "top_p", "num_predict", "num_ctx", "num_batch", "num_gpu", "num_thread", "seed"),
    *("repeat_last_n", "repeat_penalty", "stop", "mirostat", "numa", "use_mmap", "low_vram", "\\", ""),
)


def honest(lane_type: str, routing_key: str, reply_to: str, correlation_id: str, content: str = "") -> OddMessage:
    """Return a valid request.

    :param content: of the chat message, when it is not the usual one.
    """
    draft = _draft(lane_type, reply_to.encode(), correlation_id.encode())
    if content:
        draft.fields["messages"] = plain([{"role": "user", "content": content}])
    return finished(draft, "llm.request", routing_key)


def odd_request(random: Random, lanes: Sequence[tuple[str, str]], reply_to: str, correlation_id: str) -> OddMessage:
    """Return a request with one to three oddities.

    :param lanes: type and routing key of each lane that it may go to.
    """
    lane_type, routing_key = random.choice(lanes)
    draft = _draft(lane_type, reply_to.encode(), correlation_id.encode())
    if random.random() < 0.2:
        del draft.properties["type"]
    if random.random() < 0.25:
        draft.headers.append((b"x-legion-llm-stream", b"S" + struct.pack(">I", 5) + b"delta"))
    changed(random, draft, ODDITIES)
    return finished(draft, random.choice(("llm.request", "llm.fleet")), routing_key)


def _draft(lane_type: str, reply_to: bytes, correlation_id: bytes) -> Draft:
    properties = {
        "content_type": short_string(b"application/json"),
        "correlation_id": short_string(correlation_id),
        "message_id": short_string(b"req_" + correlation_id),
        "reply_to": short_string(reply_to),
        "type": short_string(b"llm.fleet.request"),
        "delivery_mode": b"\x01",
    }
    asks = {name: plain(value) for name, value in _ASKS[lane_type].items()}
    return Draft(properties, [], {"request_type": plain(lane_type), **asks})


def _odd_body_fields(random: Random, draft: Draft) -> None:
    for name in random.sample(_FIELDS, random.choice((1, 1, 2, 4))):
        draft.fields[name] = odd_value(random)


def _missing_fields(random: Random, draft: Draft) -> None:
    for name in random.sample(sorted(draft.fields), random.randint(min(1, len(draft.fields)), len(draft.fields))):
        del draft.fields[name]


def _odd_options(random: Random, draft: Draft) -> None:
    options = {name: odd_value(random, 1) for name in random.sample(_OPTIONS, 3)}
    draft.fields["options"] = random.choice((written(options), odd_value(random)))
    draft.fields["keep_alive"] = random.choice((b"0", b"-1", b'"-1"', b'"24h"', b'"x"', odd_number(random)))


def _odd_format(random: Random, draft: Draft) -> None:
    draft.fields["format"] = random.choice(
        (
            b'"yaml"',
            b'"json"',
            b'{"type":"string","minLength":1000000}',
            b'{"$ref":"#"}',
            b'{"type":"array","items":' * 200 + b"{}" + b"}" * 200,
            b'{"type":"string","pattern":"(a+)+$"}',
            b'{"enum":[' + b",".join([b'"x"'] * 20_000) + b"]}",
            odd_value(random),
        )
    )


def _odd_messages(random: Random, draft: Draft) -> None:
    part = random.choice(
        (
            b'{"role":"user","content":[{"type":"text","text":"Hello"}]}',
            b'{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}',
            b'{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://127.0.0.1/x"}}]}',
            b'{"role":"tool","content":"x","tool_call_id":' + odd_value(random) + b"}",
            b'{"role":' + odd_text(random) + b',"content":' + odd_text(random) + b"}",
            b'{"role":"user","content":' + odd_value(random) + b',"images":' + odd_value(random) + b"}",
            odd_value(random),
        )
    )
    draft.fields["messages"] = (
        b"[" + b",".join([part] * (random.choice((1, 2, 50)) if len(part) < 10_000 else 1)) + b"]"
    )
    draft.fields["input"] = random.choice((b"[" + odd_text(random) + b"]", odd_value(random)))


def _odd_texts(random: Random, draft: Draft) -> None:
    long = plain("x" * random.choice((255, 256, 65_536, 200_000)))
    for name in random.sample(("request_type", "model", "correlation_id", "provider"), random.choice((1, 2))):
        draft.fields[name] = random.choice((long, odd_text(random)))
    names = ("conversation_id", "message_id", "request_id", "x" * 300)
    draft.fields["message_context"] = written({name: odd_value(random) for name in names})


def _deep_body(random: Random, draft: Draft) -> None:
    draft.fields[random.choice(_FIELDS)] = odd_depth(random)


def _large_body(random: Random, draft: Draft) -> None:
    room = MAX_REQUEST - len(written(draft.fields)) - len(b',"context":""')
    filling = random.choice(
        (b'"' + b"x" * room + b'"', b'"' + b"x" * (room + 1) + b'"', b"[" + b"{}," * 150_000 + b"0]")
    )
    draft.fields["context"] = filling


def _twice_named(random: Random, draft: Draft) -> None:
    good = written(draft.fields)
    draft.body = good[:-1] + b"," + random.choice((b'"model"', b'"messages"', b'"reply_to"')) + b":"
    draft.body += odd_value(random, 1) + b"}"


def _deep_list(random: Random, draft: Draft) -> None:
    draft.body = nested(random.choice((980, 1000, 100_000)), written(draft.fields))


def _odd_answer(random: Random, draft: Draft) -> None:
    mark = f"{ODD_ANSWER}{random.randrange(10**9)}"
    if "messages" in draft.fields:
        draft.fields["messages"] = plain([{"role": "user", "content": mark}])
    elif "prompt" in draft.fields:
        draft.fields["prompt"] = plain(mark)
    else:
        draft.fields["input"] = random.choice((plain(mark), plain([mark, "another"]), plain([mark] * 5)))


ODDITIES: Oddities = {
    **odd_properties.ODDITIES,
    "odd_body_fields": (10, _odd_body_fields),
    "missing_fields": (2, _missing_fields),
    "odd_options": (4, _odd_options),
    "odd_format": (3, _odd_format),
    "odd_messages": (5, _odd_messages),
    "odd_texts": (4, _odd_texts),
    "deep_body": (2, _deep_body),
    "large_body": (1, _large_body),
    "twice_named": (2, _twice_named),
    "deep_list": (1, _deep_list),
    "odd_answer": (30, _odd_answer),
}
