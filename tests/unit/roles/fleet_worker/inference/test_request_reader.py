# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests, read once: what is asked, on the terms of the lane, and which ones are never answered."""

from __future__ import annotations

import gzip
from typing import Any, Optional

import pytest
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.inference.request_reader import RequestReader
from fleet_worker.inference.task import ParsedRequest

from ..deliveries import delivery
from .tasks import task_of

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
READER = RequestReader(("llm.fleet.reply.*",), 1000, runner_options=False)


def reading(body: Any, **options: Any) -> ParsedRequest:
    found = READER.read(delivery(body, **options))
    assert isinstance(found, ParsedRequest)
    return found


def test_read_returns_what_ollama_is_sent_and_what_the_log_says() -> None:
    found = reading(CHAT, count=2)
    assert found.failure is None and found.verdict is Verdict.ACK
    assert found.request.arguments == {"model": "m:1", **CHAT}
    expected = {"dialect": "typed", "correlation_id": "c-1", "type": "chat", "model": "m:1", "redelivered": 2}
    assert expected.items() <= found.fields.items()


def test_read_once_keeps_the_reading_in_the_task() -> None:
    task = task_of(delivery(CHAT))
    first = READER.read_once(task)
    assert READER.read_once(task) is first is task.reading


def test_read_of_an_answer_is_acknowledged_unanswered() -> None:
    found = READER.read(delivery(CHAT, type="llm.fleet.response"))
    assert isinstance(found, Result)
    assert (found.verdict, found.outcome, found.reply) == (Verdict.ACK, "is_an_answer", None)


def test_read_with_a_reply_queue_that_is_not_allowed_is_rejected_unanswered() -> None:
    found = READER.read(delivery(CHAT, reply_to="llm.request.ollama.chat.m.1"))
    assert isinstance(found, Result)
    assert (found.verdict, found.outcome, found.reply) == (Verdict.REJECT, "reply_to_refused", None)
    assert found.fields["reply_to"] == "llm.request.ollama.chat.m.1" and found.fields["reason"]


@pytest.mark.parametrize("body", [b"not JSON", b"[1]", b"\xff", b'{"a": "' + b"x" * 1000 + b'"}'])
def test_read_of_a_body_that_cannot_be_read_is_answered_and_rejected(body: bytes) -> None:
    found = reading(body)
    assert found.failure is not None and found.verdict is Verdict.REJECT


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "encrypted/cs", None])
def test_read_of_a_compressed_body_is_refused_without_a_look_into_it(encoding: Optional[str]) -> None:
    bomb = gzip.compress(b'{"messages": []}' + b" " * 10_000)
    found = reading(bomb, content_encoding=encoding)
    assert found.failure is not None and found.verdict is Verdict.REJECT
    assert found.failure.code == "unsupported_type"


@pytest.mark.parametrize(
    "options, wants",
    [
        ({}, False),
        ({"headers": {"x-legion-llm-stream": "delta"}}, True),
        ({"headers": {"x-legion-llm-stream": "delta"}, "reply_to": None}, False),
    ],
)
def test_reading_wants_deltas_only_where_they_can_be_sent(options: dict[str, Any], wants: bool) -> None:
    assert reading(CHAT, **options).wants_deltas is wants
