# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No reply is larger than is allowed, whatever it repeats."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from fleet_worker._fleet.dialects import plain, typed, versioned
from fleet_worker._fleet.dialects.base import Dialect, ReplyIdentity
from fleet_worker._fleet.dialects.protocol import version2
from fleet_worker._fleet.messages import Delta, Failure, Outcome, Request, Success
from fleet_worker.inference.replies import Replies

MAX = 2000
LARGE = {"a": "x" * 3_000_000}
SUCCESS = Success({"message": {"role": "assistant", "content": "Good morning."}, "done": True}, 0.0, 0.1)
FAILURE = Failure("inference_failed", "the runner fell over")

REQUEST = Request("chat", "chat", "m:1", {}, "llm.fleet.reply.0123456789abcdef", "c-1")


def body_of(dialect: Dialect, request: Request, outcome: Outcome) -> Any:
    reply, told = Replies(ReplyIdentity("gpu-01"), MAX).write(dialect, request, outcome)
    assert len(reply.message.body) <= MAX
    return json.loads(reply.message.body), told


@pytest.mark.parametrize("dialect", [typed.DIALECT, plain.DIALECT], ids=lambda dialect: dialect.name)
def test_write_of_an_answer_that_is_too_large_writes_an_error(dialect: Dialect) -> None:
    large = Success({"message": {"content": "x" * MAX}}, 0.0, 0.1)
    body, told = body_of(dialect, REQUEST, large)
    assert isinstance(told, Failure) and told.code == "payload_too_large"
    assert body["error"]["code"] == "payload_too_large"


@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE], ids=["success", "failure"])
@pytest.mark.parametrize(
    "dialect",
    [typed.DIALECT, plain.DIALECT, versioned.DIALECT, version2.DIALECT],
    ids=lambda dialect: dialect.name,
)
@pytest.mark.parametrize(
    "large",
    [
        {"message_context": LARGE},
        {"request_type": "x" * 3_000_000},
        {"model": "m:1" + "-" * 3_000_000},
        {"document": {"trace_context": LARGE}},
    ],
    ids=lambda large: next(iter(large)),
)
def test_write_of_a_request_with_something_large_repeats_nothing(
    dialect: Dialect, large: dict[str, Any], outcome: Outcome
) -> None:
    if dialect is versioned.DIALECT and isinstance(outcome, Success):
        return  # never served
    body, told = body_of(dialect, replace(REQUEST, **large), outcome)
    repeated = {
        "0.3.1": ["model"],
        "typed": ["message_context", "request_type", "model"],
        "version 2": ["message_context", "request_type", "model", "document"],
    }
    if isinstance(outcome, Success) and next(iter(large)) in repeated[dialect.name]:
        assert isinstance(told, Failure) and told.code == "payload_too_large"
    assert body
    if dialect is version2.DIALECT and "request_type" not in large:
        # Without these its requester does not look at it.
        assert (body["protocol_version"], body["operation"], body["correlation_id"]) == (2, "chat", "c-1")


def test_write_of_an_error_with_a_long_text_cuts_it() -> None:
    body, _told = body_of(typed.DIALECT, REQUEST, Failure("inference_failed", "x" * 100_000))
    assert body["error"]["message"].startswith("xxxx")


@pytest.mark.parametrize("dialect", [typed.DIALECT, plain.DIALECT], ids=lambda dialect: dialect.name)
def test_write_names_the_fields_that_did_not_reach_ollama(dialect: Dialect) -> None:
    request = replace(REQUEST, ignored=("keep_alive", "options.num_ctx", "a,\x1b[31m\ud800", "x" * 1000))
    reply, _told = Replies(ReplyIdentity("gpu-01"), MAX).write(dialect, request, SUCCESS)
    named = reply.message.headers["x-legion-fleet-ignored"]
    assert named.startswith("keep_alive, options.num_ctx, a\\x2c\\x1b[31m\\ud800, xxx")
    assert len(named.encode()) < 200
    assert (
        "x-legion-fleet-ignored"
        not in Replies(ReplyIdentity("gpu-01"), MAX).write(dialect, REQUEST, SUCCESS)[0].message.headers
    )


def test_write_names_some_of_very_many_fields() -> None:
    def named(name: str) -> str:
        request = replace(REQUEST, ignored=(name,) * 10_000)
        reply, _told = Replies(ReplyIdentity("gpu-01"), MAX).write(typed.DIALECT, request, SUCCESS)
        return str(reply.message.headers["x-legion-fleet-ignored"])

    assert named("options.num_ctx").endswith(", options.num_ctx, and 9980 more")
    assert len(named("\ud800" * 1000).encode()) < 1100


def deltas(request: Request, most: int = MAX) -> Any:
    assert typed.DIALECT.write_delta is not None
    return Replies(ReplyIdentity("gpu-01"), most).deltas(request, typed.DIALECT.write_delta)


def test_deltas_repeat_a_small_context_and_no_large_one() -> None:
    context = {"request_id": "req_77"}
    small = deltas(replace(REQUEST, message_context=context))(Delta("a", 0, content="x"))
    assert json.loads(small.message.body)["message_context"] == context
    large = deltas(replace(REQUEST, message_context=LARGE, request_type="x" * 3_000_000))(Delta("a", 0, content="x"))
    assert json.loads(large.message.body)["message_context"] == {}
    assert len(large.message.body) < 1000


def test_deltas_of_a_context_that_cannot_be_written_repeat_none() -> None:
    deep: Any = {}
    for _level in range(100_000):
        deep = {"a": deep}
    write = deltas(replace(REQUEST, message_context=deep))
    assert json.loads(write(Delta("a", 0, content="x")).message.body)["message_context"] == {}


def test_deltas_that_are_too_large_are_none() -> None:
    assert deltas(REQUEST)(Delta("a", 0, content="x" * MAX)) is None
